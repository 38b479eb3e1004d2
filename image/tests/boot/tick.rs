//! The tick of developer mode in a machine: its model is one of the host, and its site lies on the data partition.
//!
//! The model reads from a script, unless `LLMBASEDOS_TEST_MODEL` names a server of this machine with a real one
//! (`http://127.0.0.1:11434`): that takes minutes.

use serde_json::{Value, json};

use crate::machine::{Machine, TOKEN, tool};
use crate::model::ScriptedModel;
use crate::site;

/// Where a machine whose owner says nothing serves its sites.
const SITES: &str = "http://127.0.0.1:8001";

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn a_tick_leaves_a_sound_site_on_the_data_partition() {
    let scripted = ScriptedModel::start();
    let url = std::env::var("LLMBASEDOS_TEST_MODEL").unwrap_or_else(|_| scripted.url.clone());
    let (_, port) = url.rsplit_once(':').expect("a port");
    let machine = Machine::new();
    machine.settings(&format!(
        "[gateway]\ntokens = [\"{TOKEN}\"]\n[arcs.llm_router.backends.host]\nkind = \"openai\"\n\
         url = \"http://10.0.2.2:{port}\"\ntimeout = \"600s\"\n"
    ));
    let guest = machine.boot_to_ready("");
    let tick = guest.call_for("35m", &["awake.tick", "{}"]).expect("it acts");
    assert_eq!((&tick["triggered"], &tick["details"]["ok"]), (&json!(true), &json!(true)), "{tick}");
    let (site, model) = (words(&tick["details"]["site_id"]), words(&tick["details"]["model"]));
    guest.power_off();

    let folder = tempfile::tempdir().expect("a folder");
    machine.debugfs(&format!("rdump /sites/{site} {}", folder.path().display()));
    let judged = site::judge(&folder.path().join(&site), &format!("{SITES}/{site}/"), &model);
    let judged = judged.unwrap_or_else(|faults| panic!("the site is not sound:\n{faults}"));
    for (path, text) in &judged.articles {
        eprintln!("\n{path}, as {model} wrote it; {} links lead somewhere:\n{text}", judged.links);
    }
    // What was read out is the test's own.
    tool("chmod", &["-R", "u+rwX", &folder.path().display().to_string()]);
}

fn words(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
