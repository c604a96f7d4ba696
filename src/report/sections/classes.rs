//! How often each class is not recognised.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::super::page::{Column, Width, bar, count, details, note, percent, section, table};
use super::Evaluated;
use crate::page::html::escape;

/// With more classes than these, the worst and the best come first, and all on request.
const MAX_SHOWN: usize = 24;
/// With more classes than these a table of all would be the largest part of the page.
const MAX_LISTED: usize = 2000;

/// The errors of one class.
#[derive(Clone, Debug, PartialEq)]
struct ClassErrors {
    label: usize,
    num_images: u64,
    num_wrong: u64,
    num_beyond_five: u64,
    /// What its images are most often taken for instead, and how often.
    taken_for: Option<(usize, u64)>,
}

impl ClassErrors {
    fn top1_error(&self) -> f64 {
        self.num_wrong as f64 / self.num_images as f64
    }
}

pub(in super::super) fn classes(evaluated: &Evaluated) -> String {
    let errors = by_class(evaluated);
    let mut text = String::from("By falling top-1 error.");
    let num_unseen = evaluated.classes.len() - errors.len();
    if num_unseen > 0 {
        text += &format!(" Of {} classes no image was evaluated.", count(num_unseen as u64));
    }
    let mut body = note(&text);
    if errors.len() <= MAX_SHOWN {
        body += &class_table("All classes", &errors, evaluated);
    } else {
        let half = MAX_SHOWN / 2;
        body += &class_table("The classes with the highest error", &errors[..half], evaluated);
        body += &class_table("The classes with the lowest error", &errors[errors.len() - half..], evaluated);
        if errors.len() <= MAX_LISTED {
            body += &details(
                &format!("All {} classes", count(errors.len() as u64)),
                &class_table("All classes", &errors, evaluated),
            );
        }
    }
    section("Error by class", Width::Whole, &body)
}

/// The classes that have images, by falling top-1 error, and of equals by rising label.
fn by_class(evaluated: &Evaluated) -> Vec<ClassErrors> {
    let mut found: BTreeMap<usize, (ClassErrors, BTreeMap<usize, u64>)> = BTreeMap::new();
    for prediction in &evaluated.evaluation.predictions {
        let label = prediction.label;
        let empty = ClassErrors { label, num_images: 0, num_wrong: 0, num_beyond_five: 0, taken_for: None };
        let (errors, taken_for) = found.entry(label).or_insert_with(|| (empty, BTreeMap::new()));
        errors.num_images += 1;
        errors.num_wrong += u64::from(!prediction.is_right());
        errors.num_beyond_five += u64::from(prediction.rank >= 5);
        if !prediction.is_right() {
            *taken_for.entry(prediction.likely[0].class).or_default() += 1;
        }
    }
    let most_often = |(mut errors, taken_for): (ClassErrors, BTreeMap<usize, u64>)| {
        errors.taken_for = taken_for.into_iter().max_by_key(|&(class, num)| (num, Reverse(class)));
        errors
    };
    let mut errors: Vec<_> = found.into_values().map(most_often).collect();
    errors.sort_by(|a, b| b.top1_error().total_cmp(&a.top1_error()).then(a.label.cmp(&b.label)));
    errors
}

fn class_table(caption: &str, errors: &[ClassErrors], evaluated: &Evaluated) -> String {
    let name = |class: usize| escape(&evaluated.classes[class]);
    let row = |class: &ClassErrors| {
        let taken_for = class.taken_for.map_or_else(String::new, |(other, num)| format!("{} ({num})", name(other)));
        vec![
            name(class.label),
            count(class.num_images),
            percent(class.top1_error()),
            bar(class.top1_error()),
            percent(class.num_beyond_five as f64 / class.num_images as f64),
            taken_for,
        ]
    };
    let columns = [
        Column::Text("class"),
        Column::Number("images"),
        Column::Number("top-1 error"),
        Column::Bar,
        Column::Number("top-5 error"),
        Column::Text("most often taken for"),
    ];
    table(caption, &columns, &errors.iter().map(row).collect::<Vec<_>>())
}
