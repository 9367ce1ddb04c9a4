//! gpulet's nine models on the stand-in profile's networks, and task sets of them.
//!
//! The profile has neither LeNet, SSD, MNASNet nor BERT, and its GPU is several times faster than gpulet's. Each of the nine
//! is given a network of its own: itself or its family where there is one, else one of similar cost relative to the others.
//! Its SLO is either what gpulet's SLOs are on gpulet's GPU, twice the latency of a batch of 32 on a whole GPU
//! ([`Mode::Scaled`]), or the published number of milliseconds ([`Mode::Published`]). LeNet's published 5 ms are less than a
//! cycle of any network of the profile but VGG, so in that mode it is VGG-16.

use crate::read;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use sublet_packing::{Gpus, Interference, Linear, Problem, Profile, Rules, Task, formats};
use sublet_units::{Bytes, Time};

/// Name, network in [`Mode::Scaled`], network in [`Mode::Published`], published SLO in ms, memory in MiB (gpulet's).
const NINE: [(&str, &str, &str, u64, u64); 9] = [
    ("lenet", "densenet169", "vgg16", 5, 50),
    ("googlenet", "inception", "inception", 66, 1720),
    ("resnet50", "resnet50", "resnet50", 108, 1820),
    ("ssd-mobilenetv1", "resnet101", "resnet101", 202, 640),
    ("vgg16", "vgg16", "vgg16", 142, 2920),
    ("mnasnet1_0", "densenet121", "mobilenet", 62, 1550),
    ("mobilenet_v2", "mobilenet", "mobilenet", 64, 464),
    ("densenet161", "densenet201", "densenet201", 202, 1220),
    ("bert", "vgg19", "resnet50", 22, 500),
];

const GPU_MEMORY: Bytes = Bytes::from_mib(11_000);
const SIZES: [u32; 6] = [20, 40, 50, 60, 80, 100];

/// Where SLOs come from.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Scaled,
    Published,
}

impl Mode {
    pub fn heading(self) -> &'static str {
        match self {
            Mode::Scaled => {
                "SLO = twice the latency of a batch of 32 on the whole GPU (gpulet's rule, on the profile's GPU)"
            }
            Mode::Published => "SLO = gpulet's published milliseconds",
        }
    }
}

/// Profiles and constants.
pub struct Models {
    profile: Profile,
    linear: Linear,
}

impl Models {
    pub fn read(data: &Path) -> Result<Models> {
        let mut profile = Profile::default();
        let standin = data.join("standin-profile");
        formats::latency("inference.csv", &read(standin.join("inference.csv"))?, &mut profile)?;
        formats::utilisation("mem_util.csv", &read(standin.join("mem_util.csv"))?, &mut profile)?;
        let constants = read(data.join("rtx2080ti/INT_MODEL_CONSTANT.CSV"))?;
        Ok(Models { profile, linear: formats::constants("INT_MODEL_CONSTANT.CSV", &constants)? })
    }

    fn network(mode: Mode, index: usize) -> &'static str {
        match mode {
            Mode::Scaled => NINE[index].1,
            Mode::Published => NINE[index].2,
        }
    }

    fn slo(&self, mode: Mode, index: usize) -> Result<Time> {
        match mode {
            Mode::Published => Ok(Time::from_millis(NINE[index].3)),
            Mode::Scaled => {
                let network = Self::network(mode, index);
                let latency = self.profile.latency(network, 100, 32);
                Ok(latency.with_context(|| format!("{network} was not measured at batch 32"))? * 2)
            }
        }
    }

    /// A line per model: its network and SLO.
    pub fn describe(&self, mode: Mode) -> Vec<String> {
        let line = |index: usize| {
            let slo = self
                .slo(mode, index)
                .map_or("unknown".into(), |slo| format!("{:.1} ms", slo.as_millis_f64()));
            format!("{:16} is {:12} SLO {slo}", NINE[index].0, Self::network(mode, index))
        };
        (0..9).map(line).collect()
    }

    pub fn problem(
        &self,
        mode: Mode,
        rates: &[f64; 9],
        count: usize,
        rules: Rules,
        interference: bool,
    ) -> Result<Problem> {
        let mut profile = self.profile.clone();
        let (mut tasks, mut memory) = (Vec::new(), BTreeMap::new());
        for (index, rate) in rates.iter().enumerate() {
            let name = NINE[index].0;
            profile.alias(name, Self::network(mode, index))?;
            memory.insert(name.to_owned(), Bytes::from_mib(NINE[index].4));
            tasks.push(Task { model: name.to_owned(), rate: *rate, slo: self.slo(mode, index)? });
        }
        let interference =
            if interference { Interference::Linear(self.linear) } else { Interference::None };
        let gpus = Gpus {
            name: "stand-in".into(),
            count,
            whole: 100,
            sizes: SIZES.to_vec(),
            memory: GPU_MEMORY,
            profile,
            interference,
        };
        Ok(Problem::new(tasks, vec![gpus], rules, memory)?)
    }
}

/// Different sets of rates, drawn from all but the empty one.
pub fn draw(count: usize, seed: u64) -> Vec<[f64; 9]> {
    let mut all: Vec<u32> = (1..3u32.pow(9)).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut all);
    let rates = |number: u32| {
        std::array::from_fn(|index| f64::from(number / 3u32.pow(index as u32) % 3) * 100.0)
    };
    all.into_iter().take(count).map(rates).collect()
}
