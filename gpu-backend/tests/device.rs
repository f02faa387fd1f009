//! What a device computes beside the CPU: `check`'s cases on the device that
//! `SKERRY_TEST_DEVICE` names (`vulkan`, `cuda`). `tests/run gpu` runs it.

use gpu_backend::backend::DeviceKind;
use gpu_backend::check::{self, Group, Verdict};

#[test]
#[ignore = "asks for the device that SKERRY_TEST_DEVICE names"]
fn the_device_computes_what_the_cpu_does() {
    let name = std::env::var("SKERRY_TEST_DEVICE").unwrap();
    let kind = name.parse::<DeviceKind>().unwrap();
    let checks = check::device(kind, &Group::ALL, &mut |check| println!("{check}")).unwrap();
    let wrong: Vec<String> = checks
        .iter()
        .filter(|check| check.verdict() == Verdict::Wrong)
        .map(ToString::to_string)
        .collect();
    println!(
        "{} of {} checks passed",
        checks.len() - wrong.len(),
        checks.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
