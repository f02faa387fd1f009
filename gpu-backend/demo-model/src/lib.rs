//! The maker of Skerry's bundled demonstration model, in reading order: the dialogues it is
//! taught (`data`), how they are written as tokens (`chat`, `tokenizer`), the network and its
//! training (`config`, `ops`, `model`, `optimizer`, `train`), what is shipped (`export`) and how
//! it is judged (`infer`, `eval`).
//!
//! It runs offline, before a release. It does not know the engine, which loads the result like
//! any other Hugging Face directory.

pub mod data;

pub mod chat;
pub mod tokenizer;

pub mod config;
pub mod ops;

pub mod model;
pub mod optimizer;
pub mod train;

pub mod export;

pub mod infer;

pub mod eval;
