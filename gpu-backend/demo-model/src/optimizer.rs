//! The update of the parameters: Muon (Jordan and others, 2024: momentum, then the nearest
//! orthogonal matrix by Newton–Schulz) for the layers' matrices, AdamW (Loshchilov and Hutter,
//! 2019) for the embedding and the norms. It knows no batch and no schedule.

use burn::tensor::{Device, Tensor, TensorData};

use crate::model::{Kind, Parameter};

/// AdamW's decay of the first moment.
const BETA_1: f32 = 0.9;
/// AdamW's decay of the second moment.
const BETA_2: f32 = 0.98;
const ADAM_EPS: f32 = 1e-8;
/// Muon's momentum (Nesterov's form).
const MOMENTUM: f32 = 0.95;
/// Decay of matrices and embedding per step, times the learning rate.
const WEIGHT_DECAY: f32 = 0.1;
/// Largest global norm of a gradient.
const CLIP_NORM: f32 = 1.0;
/// Brings an orthogonal update to the size of AdamW's (Liu and others, 2025, "Muon is scalable").
const MUON_SCALE: f32 = 0.2;
/// Newton–Schulz coefficients of the quintic, one row an iteration (Amsel and others, 2025,
/// "The Polar Express"). After four of them the singular values lie about one, between a half
/// and 1.6, which is all that Muon asks.
const NEWTON_SCHULZ: [[f32; 3]; 4] = [
    [8.156_555, -22.483_293, 15.878_77],
    [4.042_93, -2.808_917_4, 0.500_017_8],
    [3.891_678_3, -2.772_484, 0.506_064_8],
    [3.285_753_8, -2.368_125, 0.464_49],
];

/// The state that belongs to one parameter.
#[derive(Debug, Clone)]
struct State {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The optimiser of a whole network.
#[derive(Debug)]
pub struct Optimizer {
    states: Vec<State>,
    steps: i32,
}

impl Optimizer {
    /// Zero state for these parameters.
    pub fn new(all: &[Parameter]) -> Self {
        let state = |p: &Parameter| {
            let second = if p.kind == Kind::Matrix {
                0
            } else {
                p.values.len()
            };
            State {
                first: vec![0.0; p.values.len()],
                second: vec![0.0; second],
            }
        };
        Self {
            states: all.iter().map(state).collect(),
            steps: 0,
        }
    }

    /// One update. The gradients are clipped together; two threads share the parameters.
    pub fn step(&mut self, all: &mut [Parameter], gradients: &mut [Vec<f32>], rate: f32) {
        self.steps += 1;
        let squares: f64 = gradients
            .iter()
            .flatten()
            .map(|g| f64::from(*g) * f64::from(*g))
            .sum();
        let norm = squares.sqrt() as f32;
        let scale = if norm > CLIP_NORM {
            CLIP_NORM / norm
        } else {
            1.0
        };
        let steps = self.steps;
        let middle = all.len() / 2;
        let (low, high) = all.split_at_mut(middle);
        let (low_g, high_g) = gradients.split_at_mut(middle);
        let (low_s, high_s) = self.states.split_at_mut(middle);
        let run = move |all: &mut [Parameter], gradients: &mut [Vec<f32>], states: &mut [State]| {
            for ((p, g), s) in all.iter_mut().zip(gradients).zip(states) {
                g.iter_mut().for_each(|g| *g *= scale);
                match p.kind {
                    Kind::Matrix => muon(p, g, s, rate),
                    Kind::Embedding | Kind::Norm => adam(p, g, s, rate, steps),
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(move || run(high, high_g, high_s));
            run(low, low_g, low_s);
        });
    }
}

fn adam(p: &mut Parameter, gradient: &[f32], state: &mut State, rate: f32, steps: i32) {
    let decay = if p.kind == Kind::Norm {
        0.0
    } else {
        rate * WEIGHT_DECAY
    };
    let (bias_1, bias_2) = (1.0 - BETA_1.powi(steps), 1.0 - BETA_2.powi(steps));
    for (i, g) in gradient.iter().enumerate() {
        let first = BETA_1 * state.first[i] + (1.0 - BETA_1) * g;
        let second = BETA_2 * state.second[i] + (1.0 - BETA_2) * g * g;
        state.first[i] = first;
        state.second[i] = second;
        let update = first / bias_1 / ((second / bias_2).sqrt() + ADAM_EPS);
        p.values[i] -= rate * update + decay * p.values[i];
    }
}

fn muon(p: &mut Parameter, gradient: &[f32], state: &mut State, rate: f32) {
    for (m, g) in state.first.iter_mut().zip(gradient) {
        *m = MOMENTUM * *m + (1.0 - MOMENTUM) * g;
    }
    let (rows, columns) = (p.shape[0], p.shape[1]);
    for split in p.splits.windows(2) {
        let width = split[1] - split[0];
        let mut block = Vec::with_capacity(rows * width);
        for row in 0..rows {
            let part = row * columns + split[0]..row * columns + split[1];
            for (g, m) in gradient[part.clone()].iter().zip(&state.first[part]) {
                block.push((1.0 - MOMENTUM) * g + MOMENTUM * m);
            }
        }
        let update = orthogonalise(block, rows, width);
        let scale = rate * MUON_SCALE * (rows.max(width) as f32).sqrt();
        let keep = 1.0 - rate * WEIGHT_DECAY;
        for row in 0..rows {
            for column in 0..width {
                let value = &mut p.values[row * columns + split[0] + column];
                *value = *value * keep - scale * update[row * width + column];
            }
        }
    }
}

/// Nearly the nearest matrix with orthogonal rows (or columns), by Newton–Schulz.
pub fn orthogonalise(block: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    let norm = block.iter().map(|v| v * v).sum::<f32>().sqrt() * 1.01 + 1e-12;
    let data = TensorData::new(block, [rows, columns]);
    let mut x = Tensor::<2>::from_data(data, &Device::flex()) / norm;
    if rows > columns {
        x = x.transpose();
    }
    for [a, b, c] in NEWTON_SCHULZ {
        let gram = x.clone().matmul(x.clone().transpose());
        let polynomial = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + polynomial.matmul(x);
    }
    if rows > columns {
        x = x.transpose();
    }
    x.into_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// How much a matrix stretches `direction`, squared.
    fn stretch(matrix: &[f32], direction: &[f32], columns: usize) -> f32 {
        let along = |column: usize| -> f32 {
            let rows = direction.iter().enumerate();
            rows.map(|(row, d)| d * matrix[row * columns + column])
                .sum()
        };
        let squares: f32 = (0..columns).map(|column| along(column).powi(2)).sum();
        squares / direction.iter().map(|d| d * d).sum::<f32>()
    }

    #[test]
    fn orthogonalise_stretches_all_directions_alike() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (rows, columns) = (8, 24);
        let shared: Vec<f32> = (0..columns).map(|_| rng.random::<f32>() - 0.5).collect();
        // Rows that are almost parallel: their sum is long, their differences are short.
        let block: Vec<f32> = (0..rows * columns)
            .map(|i| shared[i % columns] + 0.2 * (rng.random::<f32>() - 0.5))
            .collect();
        let mut directions = vec![vec![1.0; rows]];
        for i in 1..rows {
            let mut difference = vec![0.0; rows];
            (difference[0], difference[i]) = (1.0, -1.0);
            directions.push(difference);
        }
        let before = stretch(&block, &directions[0], columns);
        assert!(before > 20.0 * stretch(&block, &directions[1], columns));
        let x = orthogonalise(block, rows, columns);
        for direction in &directions {
            let after = stretch(&x, direction, columns);
            assert!((0.2..2.7).contains(&after), "{direction:?}: {after}");
        }
    }
}
