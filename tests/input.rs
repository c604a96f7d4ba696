//! The input pipeline over a synthetic dataset: what reaches the trainer, and when it stops.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use alexnet::input::{
    Augmentation, Batch, BatchSource, Dtype, EvalPlan, NumViews, Pipeline, PipelineOptions, Plan, TrainPlan, Values,
};
use alexnet::recipe::settings::{AugmentSettings, OrderKind};
use alexnet::shard::{Dataset, Split};
use alexnet::synthetic::dataset::{coloured_dataset, sparse_dataset};
use alexnet::trace::Tracer;
use alexnet::{Error, Result};

const NUM_TRAIN: usize = 22;
const NUM_VAL: usize = 7;

fn opened(dir: &Path) -> Arc<Dataset> {
    coloured_dataset(dir, NUM_TRAIN, NUM_VAL, 4, 5).unwrap();
    Arc::new(Dataset::open(dir).unwrap())
}

fn augmentation(dataset: &Dataset) -> Augmentation {
    Augmentation::new(&AugmentSettings::default(), &dataset.info().statistics)
}

fn train_plan(order: OrderKind) -> Plan {
    Plan::Train(TrainPlan::new(3, NUM_TRAIN, 4, order).unwrap())
}

fn options(steps: std::ops::Range<u64>) -> PipelineOptions {
    PipelineOptions { dtype: Dtype::F16, workers: 2, buffers: 3, prefetch_steps: 2, steps }
}

fn start(dataset: &Arc<Dataset>, plan: Plan, options: PipelineOptions) -> Pipeline {
    let split = if matches!(plan, Plan::Train(_)) { Split::Train } else { Split::Val };
    let tracer = Tracer::default();
    Pipeline::start(Arc::clone(dataset), split, plan, augmentation(dataset), options, tracer).unwrap()
}

/// All remaining batches of a source.
fn drained(mut source: impl BatchSource) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    while let Some(batch) = source.recv()? {
        batches.push(batch.clone());
        source.recycle(batch);
    }
    Ok(batches)
}

#[test]
fn any_number_of_workers_and_buffers_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let play = |workers, buffers| {
        let options = PipelineOptions { workers, buffers, ..options(0..12) };
        drained(start(&dataset, train_plan(OrderKind::Shuffled), options)).unwrap()
    };
    let expected = play(1, 2);
    assert_eq!(expected.iter().map(|batch| batch.step).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    // 22 samples in batches of 4: five steps per epoch.
    assert_eq!(expected.iter().map(|batch| batch.epoch).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]);
    for (workers, buffers) in [(1, 1), (1, 6), (2, 3), (2, 4), (5, 2), (5, 5)] {
        assert!(play(workers, buffers) == expected, "{workers} workers, {buffers} buffers");
    }
}

#[test]
fn a_run_that_begins_at_any_step_gives_the_tail_of_the_whole_run() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let play = |steps| drained(start(&dataset, train_plan(OrderKind::Shuffled), options(steps))).unwrap();
    let whole = play(0..11);
    for first in [1, 4, 5, 6, 10, 11] {
        assert!(play(first..11) == whole[first as usize..], "from step {first}");
    }
}

#[test]
fn batches_carry_the_labels_and_values_of_their_samples() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let options = PipelineOptions { dtype: Dtype::F32, ..options(0..6) };
    let batches = drained(start(&dataset, train_plan(OrderKind::Sequential), options)).unwrap();
    let augmentation = augmentation(&dataset);
    for batch in batches {
        let Values::F32(values) = &batch.values else { panic!("f32 was asked for") };
        for i in 0..4 {
            let sample = (batch.step % 5) as usize * 4 + i;
            assert_eq!(batch.labels[i], sample as u32 % 4);
            let view = augmentation.training_view(3, batch.epoch, sample);
            let mut expected = vec![0.0_f32; augmentation.frame().num_values()];
            let bytes = dataset.split(Split::Train).sample(sample).bytes;
            let augmenter = alexnet::input::Augmenter::scalar();
            augmenter.write(bytes, dataset.mean(), &view, augmentation.frame(), &mut expected);
            assert!(values[i * expected.len()..][..expected.len()] == expected, "step {}, row {i}", batch.step);
        }
    }
}

#[test]
fn blocks_are_an_order_like_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let play = |workers, prefetch_steps, steps| {
        let options = PipelineOptions { workers, prefetch_steps, ..options(steps) };
        drained(start(&dataset, train_plan(OrderKind::Blocks), options)).unwrap()
    };
    let whole = play(2, 2, 0..11);
    assert!(play(1, 0, 0..11) == whole && play(5, 9, 0..11) == whole);
    assert!(play(2, 2, 7..11) == whole[7..]);
    assert!(whole != drained(start(&dataset, train_plan(OrderKind::Shuffled), options(0..11))).unwrap());
}

#[test]
fn an_evaluation_sees_every_sample_once_and_its_last_batch_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let plan = Plan::Eval(EvalPlan::new(NUM_VAL, None, 3, NumViews::One).unwrap());
    let batches = drained(start(&dataset, plan, options(0..u64::MAX))).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_valid).collect::<Vec<_>>(), [3, 3, 1]);
    let labels: Vec<u32> = batches.iter().flat_map(|batch| &batch.labels[..batch.num_valid]).copied().collect();
    assert_eq!(labels, [0, 1, 2, 3, 0, 1, 2]);
    let Values::F16(last) = &batches[2].values else { panic!("f16 was asked for") };
    let sample_values = augmentation(&dataset).frame().num_values();
    assert!(last[..sample_values].iter().any(|value| *value != half::f16::ZERO));
    assert!(last[sample_values..].iter().all(|value| *value == half::f16::ZERO), "room without a sample");
}

#[test]
fn ten_views_of_a_sample_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let plan = Plan::Eval(EvalPlan::new(NUM_VAL, Some(3), 8, NumViews::Ten).unwrap());
    let batches = drained(start(&dataset, plan, options(0..u64::MAX))).unwrap();
    let labels: Vec<u32> = batches.iter().flat_map(|batch| &batch.labels[..batch.num_valid]).copied().collect();
    assert_eq!(labels, [[0; 10], [1; 10], [2; 10]].concat());
}

/// Writes a byte at `offset` of a shard.
fn overwrite(path: &Path, offset: usize, byte: u8) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte], offset as u64).unwrap();
}

#[test]
fn damage_reaches_the_trainer_with_its_path_when_its_part_of_a_shard_is_first_read() {
    // Shards of 8, 8 and 6 samples, in steps of 4: the second shard begins with step 2.
    let samples = 4096 + alexnet::shard::SAMPLE_BYTES;
    let labels = samples + 8 * alexnet::shard::SAMPLE_BYTES;
    let places = [
        (samples + alexnet::shard::SAMPLE_BYTES + 1000, "sample 1 is damaged"),
        (labels + 1, "the table of labels"),
        (labels + 8 * 4 + 1, "the table of checksums"),
        (4000, "the padding"),
    ];
    for (offset, problem) in places {
        let dir = tempfile::tempdir().unwrap();
        coloured_dataset(dir.path(), NUM_TRAIN, NUM_VAL, 4, 5).unwrap();
        let path = dir.path().join(Split::Train.shard_file(1));
        overwrite(&path, offset, std::fs::read(&path).unwrap()[offset] ^ 1);
        let dataset = Arc::new(Dataset::open(dir.path()).unwrap());
        for workers in [1, 2, 5] {
            let options = PipelineOptions { workers, buffers: 6, ..options(0..9) };
            let mut pipeline = start(&dataset, train_plan(OrderKind::Sequential), options);
            for step in 0..2 {
                let batch = pipeline.recv().unwrap().unwrap();
                assert_eq!(batch.step, step);
                pipeline.recycle(batch);
            }
            let error = pipeline.recv().unwrap_err();
            assert!(matches!(&error, Error::Data { path: found, .. } if *found == path), "{error}");
            assert!(error.to_string().contains(problem), "{offset}: {error}");
            let error = pipeline.recv().unwrap_err();
            assert!(error.to_string().contains("stopped before step 2"), "{error}");
        }
    }
}

#[test]
fn a_damaged_mean_image_is_reported_when_the_dataset_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    coloured_dataset(dir.path(), NUM_TRAIN, NUM_VAL, 4, 5).unwrap();
    let path = dir.path().join(Split::Train.shard_file(0));
    overwrite(&path, 4096 + 77, 0);
    let error = Dataset::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("the mean image is damaged"), "{error}");
}

#[test]
fn a_dataset_larger_than_the_memory_opens_and_gives_its_first_batch() {
    let dir = tempfile::tempdir().unwrap();
    // 252 GB, sparse except for the headers and tables.
    let info = sparse_dataset(dir.path(), 1_281_167, 50_000, 1000).unwrap();
    assert_eq!((info.train.shards.len(), info.val.shards.len()), (1252, 49));
    let dataset = Arc::new(Dataset::open(dir.path()).unwrap());
    let plan = Plan::Train(TrainPlan::new(1, 1_281_167, 16, OrderKind::Shuffled).unwrap());
    let mut pipeline = start(&dataset, plan.clone(), options(0..1));
    let batch = pipeline.recv().unwrap().unwrap();
    let labels: Vec<u32> = plan.samples(0).into_iter().map(|sample| (sample % 1000) as u32).collect();
    assert_eq!(batch.labels, labels);
}

#[test]
fn a_pipeline_may_be_dropped_at_any_step() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    for num_received in 0..4 {
        let mut pipeline = start(&dataset, train_plan(OrderKind::Shuffled), options(0..u64::MAX));
        let held: Vec<Batch> = (0..num_received.min(2)).map(|_| pipeline.recv().unwrap().unwrap()).collect();
        if num_received == 3 {
            held.into_iter().for_each(|batch| pipeline.recycle(batch));
        }
        drop(pipeline);
    }
    // There is no other owner, so the workers have ended.
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn several_pipelines_run_at_once_and_count_what_they_do() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = opened(dir.path());
    let mut train = start(&dataset, train_plan(OrderKind::Shuffled), options(0..5));
    let eval = Plan::Eval(EvalPlan::new(NUM_VAL, None, 4, NumViews::One).unwrap());
    let mut eval = start(&dataset, eval, options(0..u64::MAX));
    // 3 buffers of 4 samples in f16, and their labels.
    assert_eq!(train.memory_bytes(), 3 * 4 * (2 * 3 * 227 * 227 + 4));
    let batch = eval.recv().unwrap().unwrap();
    eval.recycle(batch);
    for _ in 0..5 {
        let batch = train.recv().unwrap().unwrap();
        train.recycle(batch);
    }
    assert!(train.recv().unwrap().is_none());
    let snapshot = train.stats().snapshot();
    assert_eq!((snapshot.num_images, snapshot.num_batches, snapshot.num_failed_advice), (20, 5, 0));
    assert_eq!(snapshot.ready_batches, 0);
    assert!(snapshot.augment_seconds > 0.0 && snapshot.input_wait_seconds > 0.0);
}
