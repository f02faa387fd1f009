//! The weights that are shipped, judged as `eval` judges them: all of its questions, in the
//! five groups that count.

use std::path::Path;

use demo_model::eval;
use demo_model::infer::Reader;

#[test]
fn the_shipped_weights_reach_the_target_in_each_group() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/skerry-demo");
    let scores = eval::evaluate(&Reader::load(&folder).unwrap()).unwrap();
    let below: Vec<_> = scores.iter().filter(|score| score.is_below()).collect();
    assert!(below.is_empty(), "{below:#?}");
    assert_eq!(scores.iter().filter(|score| score.counted).count(), 5);
}
