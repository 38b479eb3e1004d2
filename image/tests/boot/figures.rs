//! What the image costs: budgets that a change has to keep, and the figures behind them.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{Machine, built, built_quick};

const MIB: f64 = 1048576.0;
/// From PID 1 until all is up, as a share of what the kernel takes before. The aim is 0.15. Emulated, where each program is
/// translated before it runs and the root is hashed without the processor's help, it is 1.4: this keeps it from growing.
const MOST_OF_THE_KERNELS_TIME: f64 = 2.0;
/// The same of a product image, whose kernel takes less and which loads the drivers of radios and starts two services more: 3.5.
const MOST_OF_THE_KERNELS_TIME_OF_PRODUCT: f64 = 4.0;
/// What all processes of a machine that is idle take together, in MiB: their proportional set size (proc_pid_smaps(5)). What
/// runs models is not counted: it takes what its models do.
const MOST_MEMORY: f64 = 32.0;
const MODEL_SERVERS: [&str; 2] = ["ollama", "llama_server"];
/// What is sent and flashed, packed, in MB: of the quick image, and of one with Ollama and the firmware of radios.
const MOST_PACKED: f64 = 40.0;
const MOST_PACKED_OF_PRODUCT: f64 = 80.0;
/// So many boots are measured.
const BOOTS: usize = 5;

#[test]
#[ignore = "boots the image: scripts/test boot"]
fn the_image_keeps_its_budgets() {
    let machine = Machine::new();
    let (mut kernel, mut gateway, mut own, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        let guest = machine.boot_to_ready("");
        let status = guest.call_until_answered(&["system.status"]);
        let seconds = |key: &str| status[key].as_f64().expect("measured");
        kernel.push(seconds("kernel_seconds"));
        let took = seconds("ready_seconds") - seconds("kernel_seconds");
        gateway.push(took - gateways_lead(&guest.call_until_answered(&["system.services"])));
        own.push(took);
        memory = usage(&guest.call_until_answered(&["system.metrics"]));
        guest.power_off();
    }
    let (kernel, gateway, own) = (median(kernel), median(gateway), median(own));
    let sizes = sizes();
    let packed = sizes.lines().find_map(|line| line.strip_prefix("packed")?.trim().parse::<f64>().ok());
    let packed = packed.expect("a number of bytes") / 1e6;
    let counted = memory.iter().filter(|(name, _)| !MODEL_SERVERS.contains(&name.as_str()));
    let sum: f64 = counted.map(|(_, mib)| mib).sum();
    let share = own / kernel;
    eprintln!("kernel {kernel:.2} s, then the gateway in {gateway:.2} s ({:.0} %)", gateway / kernel * 100.0);
    eprintln!("and all up in {own:.2} s ({:.0} %): medians of {BOOTS}", share * 100.0);
    memory.iter().for_each(|(name, mib)| eprintln!("{name:<16}{mib:>6.1} MiB"));
    eprintln!("{:<16}{sum:>6.1} MiB", "in sum");
    eprint!("{sizes}");
    let (most_time, most_packed) = match built("disk.img") == built_quick("disk.img") {
        true => (MOST_OF_THE_KERNELS_TIME, MOST_PACKED),
        false => (MOST_OF_THE_KERNELS_TIME_OF_PRODUCT, MOST_PACKED_OF_PRODUCT),
    };
    let kept = [share <= most_time, sum <= MOST_MEMORY, packed <= most_packed];
    assert_eq!(kept, [true; 3], "time of the kernel's, memory, packed size");
}

/// How long the gateway was up before the last of those that start with the machine, in seconds.
fn gateways_lead(services: &Value) -> f64 {
    let running = services.as_array().expect("a list").iter().filter(|service| service["state"] == "running");
    let since = running.map(|service| (&service["name"], service["since_ms"].as_f64().expect("a time")));
    let since: Vec<(&Value, f64)> = since.collect();
    let (_, gateway) = since.iter().find(|(name, _)| *name == "gateway").expect("it runs");
    since.iter().map(|(_, time)| time - gateway).fold(0.0, f64::max) / 1000.0
}

/// What each service takes, in MiB.
fn usage(metrics: &Value) -> Vec<(String, f64)> {
    let services = metrics["services"].as_array().expect("a list").iter();
    let one = |service: &Value| {
        let name = service["name"].as_str().expect("a name").to_owned();
        (name, service["memory"].as_f64().expect("bytes") / MIB)
    };
    services.map(one).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `image size` says of the image, in bytes.
fn sizes() -> String {
    let folder = built("disk.img").with_file_name("");
    let output =
        Command::new(env!("CARGO_BIN_EXE_image")).args(["size", "--output"]).arg(folder).stdin(Stdio::null()).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
