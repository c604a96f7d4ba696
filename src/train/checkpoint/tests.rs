//! Checkpoints survive their file, and broken ones are told apart.

use std::path::PathBuf;

use super::{Checkpoint, RunState, file_name, init_from, list, prune, read, write};
use crate::model::init::initial_parameters;
use crate::recipe::Recipe;
use crate::shard::SAMPLE_BYTES;
use crate::shard::dataset::PixelStatistics;
use crate::train::schedule::Schedule;

fn checkpoint(sets: &[&str], classes: &[&str]) -> Checkpoint {
    let mut all = vec!["augment.crop=64".to_owned(), "augment.canvas=67".to_owned(), "model.width=0.05".to_owned()];
    all.extend(sets.iter().map(|&set| set.to_owned()));
    let recipe = Recipe::load("alexnet", &all).unwrap();
    let state = RunState {
        step: 12,
        epoch: 3,
        recipe,
        classes: classes.iter().map(|&name| name.to_owned()).collect(),
        dataset: "0123456789abcdef".into(),
        statistics: PixelStatistics {
            channel_mean: [123.25, 116.5, 104.0],
            pca_deviation: [121.78, 37.09, 19.72],
            pca_vectors: [[0.6, 0.5, 0.6], [0.7, 0.0, -0.7], [0.4, -0.8, 0.4]],
        },
        schedule: Schedule { num_validated: 3, best_top1_error: Some(0.25), ..Schedule::default() },
    };
    let mut parameters = initial_parameters(&state.network().unwrap(), 5);
    parameters.velocities.iter_mut().enumerate().for_each(|(index, velocity)| *velocity = index as f32);
    Checkpoint { state, parameters, mean: (0..SAMPLE_BYTES).map(|index| index as u8).collect() }
}

fn written(checkpoint: &Checkpoint) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file_name(checkpoint.state.step));
    write::write(&path, &checkpoint.state, &checkpoint.parameters, &checkpoint.mean).unwrap();
    (folder, path)
}

#[test]
fn a_checkpoint_survives_its_file() {
    let checkpoint = checkpoint(&["train.seed=9"], &["cat", "dog, \"big\""]);
    let (_folder, path) = written(&checkpoint);
    assert_eq!(read::read(&path).unwrap(), checkpoint);
}

#[test]
fn a_truncated_checkpoint_is_reported_with_its_path() {
    let (_folder, path) = written(&checkpoint(&[], &["cat", "dog"]));
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let message = read::read(&path).unwrap_err().to_string();
        assert!(message.contains("step-00000012") && message.contains("whole safetensors"), "{len}: {message}");
    }
}

#[test]
fn a_foreign_safetensors_file_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.safetensors");
    let header = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}  "#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.push(1);
    std::fs::write(&path, bytes).unwrap();
    let message = read::read(&path).unwrap_err().to_string();
    assert!(message.contains("not a checkpoint of `train`"), "{message}");
}

#[test]
fn weights_of_another_width_or_of_other_classes_are_refused() {
    let (_folder, path) = written(&checkpoint(&[], &["cat", "dog"]));
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let mut wider = checkpoint(&["model.width=0.25"], &["cat", "dog"]).parameters;
    let message = init_from(&path, &names(&["cat", "dog"]), &mut wider).unwrap_err().to_string();
    assert!(message.contains("conv1.weight: expected [24, 3, 11, 11]") && message.contains("0.05"), "{message}");
    let mut three = checkpoint(&[], &["cat", "dog", "emu"]).parameters;
    let message = init_from(&path, &names(&["cat", "dog", "emu"]), &mut three).unwrap_err().to_string();
    assert!(message.contains("fc8.weight") && message.contains("on 2 classes"), "{message}");
    let mut same = checkpoint(&[], &["cat", "emu"]).parameters;
    let message = init_from(&path, &names(&["cat", "emu"]), &mut same).unwrap_err().to_string();
    assert!(message.contains("class 1 is \"dog\" there, but \"emu\""), "{message}");
    init_from(&path, &names(&["cat", "dog"]), &mut same).unwrap();
    assert_eq!(same.values, read::read(&path).unwrap().parameters.values);
}

#[test]
fn pruning_keeps_the_first_the_best_and_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    for step in [0, 100, 200, 300, 400, 500] {
        std::fs::write(folder.path().join(file_name(step)), "").unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "").unwrap();
    prune(folder.path(), 2, 200).unwrap();
    let left: Vec<u64> = list(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(left, [0, 200, 400, 500]);
}
