//! Kernels and products alone: all are as on the CPU, in any order of threads, and one that is wrong is named.

use std::fs;

use alexnet::backend::cuda::alone::{KERNELS, PRODUCTS};
use alexnet::backend::cuda::kernels::source::kernel_names;
use alexnet::backend::cuda::libraries::functions::{CUBLAS_LT, CUDNN};
use serde_json::Value;

use crate::checked::{Checked, gpu_check};

/// Bf16 and f32; TF32's kernels are those of f32.
const OF_KERNELS: [&str; 2] = ["bf16", "f32"];
const OF_PRODUCTS: [&str; 3] = ["bf16", "tf32", "f32"];

/// All rows of the record's table: outcome and name, and the rest of the line.
fn rows(record: &str) -> Vec<(String, String, String)> {
    let table = record.split("| | alone |").nth(1).unwrap_or_default();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').splitn(3, '|').map(|cell| cell.trim().to_owned());
        let mut next = || cells.next().expect("a cell");
        (next(), next(), next())
    };
    lines.map(row).collect()
}

fn names<'a>(cases: impl Iterator<Item = &'a str>, precisions: &[&str]) -> Vec<String> {
    cases.flat_map(|name| precisions.iter().map(move |precision| format!("{name}, {precision}"))).collect()
}

/// The names of the rows that did not pass.
fn failed(rows: &[(String, String, String)]) -> Vec<&str> {
    rows.iter().filter(|row| row.0 != "PASS").map(|row| row.1.as_str()).collect()
}

/// The simulated CUDA's report of the last process, which is the one that runs the cases if all pass.
fn report(part: &str, settings: &[(&str, &str)]) -> (Checked, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json");
    let own = ("SIMULATED_CUDA_REPORT", path.to_str().expect("UTF-8"));
    let checked = gpu_check(&["--only", part], &[settings, &[own]].concat());
    let report = fs::read(&path).expect("the report");
    (checked, serde_json::from_slice(&report).expect("JSON"))
}

#[test]
fn every_kernel_alone_is_the_cpus_in_any_order_of_threads_and_none_is_forgotten() {
    // The first goes forwards; in the others the order is another in each run of a case.
    for schedule in ["prompt", "random:1", "random:2"] {
        let (Checked { code, stderr, record }, report) = report("kernels", &[("SIMULATED_CUDA_SCHEDULE", schedule)]);
        assert_eq!(code, Some(0), "{schedule}: {stderr}\n{record}");
        println!("{record}");
        let rows = rows(&record);
        let expected = names(KERNELS.iter().map(|case| case.name()), &OF_KERNELS);
        assert_eq!(rows.iter().map(|row| &row.1).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        assert_eq!(failed(&rows), [""; 0]);
        let Value::Object(launched) = &report["kernels"] else { panic!("{report}") };
        let mut kernels = kernel_names();
        kernels.sort_unstable();
        assert_eq!(launched.keys().collect::<Vec<_>>(), kernels);
        assert_eq!(report["violations"], Value::Array(Vec::new()));
    }
}

#[test]
fn every_product_alone_is_the_sum_that_it_should_be_and_none_is_forgotten() {
    let (Checked { code, stderr, record }, report) = report("products", &[]);
    assert_eq!(code, Some(0), "{stderr}\n{record}");
    println!("{record}");
    let rows = rows(&record);
    let expected = names(PRODUCTS.iter().map(|case| case.name()), &OF_PRODUCTS);
    assert_eq!(rows.iter().map(|row| &row.1).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(failed(&rows), [""; 0]);
    let functions = CUDNN.iter().chain(CUBLAS_LT);
    for function in functions.filter(|name| name.starts_with("cudnnConvolution") || **name == "cublasLtMatmul") {
        assert!(report["calls"][function].as_u64() > Some(0), "{function} was not called: {}", report["calls"]);
    }
    assert_eq!(report["violations"], Value::Array(Vec::new()));
}

#[test]
fn a_wrong_kernel_is_named_by_its_own_rows_with_its_first_wrong_value() {
    for (kernel, tensor) in [("conv_tail_backward_no_lrn", "gradient"), ("dropout_forward", "output")] {
        let spoiled = format!("spoil:{kernel}");
        let Checked { code, stderr, record } =
            gpu_check(&["--only", "kernels"], &[("SIMULATED_CUDA_MUTATE", &spoiled)]);
        assert_eq!(code, Some(1), "{stderr}\n{record}");
        let rows = rows(&record);
        assert_eq!(failed(&rows), names([kernel].into_iter(), &OF_KERNELS), "{record}");
        let summary = format!("## Kernels and products alone: {} passed, 2 failed, 0 not done", rows.len() - 2);
        assert!(record.contains(&summary), "{record}");
        let (_, _, found) = rows.iter().find(|row| row.0 == "FAIL").expect("it failed");
        assert!(found.contains(&format!(" tensors: {tensor} of (")), "{found}");
        assert!(found.contains(" values wrong, ") && found.contains(" NaN; first at n "), "{found}");
    }
}

#[test]
fn every_wrong_kernel_is_found() {
    let spoiled: Vec<_> = kernel_names().iter().map(|name| format!("spoil:{name}")).collect();
    let settings = [("SIMULATED_CUDA_MUTATE", &*spoiled.join(","))];
    let Checked { code, stderr, record } = gpu_check(&["--only", "kernels"], &settings);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    let all = names(KERNELS.iter().map(|case| case.name()), &OF_KERNELS);
    assert_eq!(failed(&rows(&record)), all, "{record}");
}

#[test]
fn a_wrong_product_is_named_by_its_own_rows() {
    for (function, products) in [
        ("cudnnConvolutionBackwardData", &["convolution's input gradient"][..]),
        ("cudnnConvolutionBiasActivationForward", &["convolution with bias and ReLU"]),
        (
            "cublasLtMatmul",
            &PRODUCTS.iter().map(|case| case.name()).filter(|name| name.starts_with("dense")).collect::<Vec<_>>(),
        ),
    ] {
        let spoiled = format!("spoil:{function}");
        let Checked { code, stderr, record } =
            gpu_check(&["--only", "products"], &[("SIMULATED_CUDA_MUTATE", &spoiled)]);
        assert_eq!(code, Some(1), "{stderr}\n{record}");
        assert_eq!(failed(&rows(&record)), names(products.iter().copied(), &OF_PRODUCTS), "{record}");
        assert!(record.contains("; 1 of ") && record.contains(" values wrong, 1 NaN; first at "), "{record}");
    }
}

#[test]
fn a_kernel_that_ends_its_process_costs_its_own_row() {
    let Checked { code, stderr, record } = gpu_check(&["--only", "kernels", "--fault", "Kernels:3:abort"], &[]);
    assert_eq!(code, Some(1), "{stderr}\n{record}");
    let rows = rows(&record);
    assert_eq!(rows.len(), KERNELS.len() * OF_KERNELS.len());
    assert_eq!(failed(&rows), ["arrange_input, f32"], "{record}");
    assert!(record.contains("| FAIL | arrange_input, f32 | - | - | - | - | its process died of signal 6"), "{record}");
}

#[test]
fn what_cudnn_refuses_is_not_done_and_says_what_training_does() {
    let refused = "cudnnConvolutionBiasActivationForward:*:CUDNN_STATUS_NOT_SUPPORTED";
    let Checked { code, stderr, record } = gpu_check(&["--only", "products"], &[("SIMULATED_CUDA_FAIL", refused)]);
    assert_eq!(code, Some(0), "{stderr}\n{record}");
    assert_eq!(failed(&rows(&record)), names(["convolution with bias and ReLU"].into_iter(), &OF_PRODUCTS), "{record}");
    assert!(record.contains("training computes convolution, bias and ReLU one by one |"), "{record}");
}
