//! Who may call what.
//!
//! One question, asked before anything else is done for a call: [`decide`].

use spec::caller::Who;

use crate::registry::Registry;

/// The namespace of the tools over the machine itself.
const SYSTEM: &str = "system";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The call may go on.
    Permit,
    /// It may not; why and what to do.
    Forbid(String),
}

/// Whether `who` may call `tool` (its full name).
pub(crate) fn decide(registry: &Registry, who: &Who, tool: &str) -> Decision {
    let Who::Arc(name) = who else { return Decision::Permit };
    let shown: String = tool.chars().take(100).collect();
    if tool.split_once('.').is_some_and(|(namespace, _)| namespace == SYSTEM) {
        return Decision::Forbid(format!("{name} may not call {shown}: the machine itself is the owner's to steer"));
    }
    match registry.arc(name) {
        Some(arc) if arc.manifest().may_call(tool) => Decision::Permit,
        Some(_) => Decision::Forbid(format!("{name} may not call {shown}: add it to `calls` in its manifest")),
        None => Decision::Forbid(format!("{name} may not call {shown}: its manifest was removed")),
    }
}
