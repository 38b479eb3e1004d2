//! The Arc as a program of its own, as the tests start it. On a machine it is `arcs llm_router`.

fn main() -> std::process::ExitCode {
    llm_router::run()
}
