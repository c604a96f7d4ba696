//! Images a second, by the wall's clock and by the processors'.

use std::time::Instant;

use alexnet::bench::resources::cpu_seconds;

#[derive(Clone, Copy)]
pub struct Rate {
    pub wall: f64,
    /// For a second that the threads of this process worked; what the operating system does for it in threads of its
    /// own is not in it.
    pub cpu: f64,
}

pub struct Clock {
    wall: Instant,
    cpu_seconds: f64,
}

impl Clock {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu_seconds: cpu_seconds() }
    }

    pub fn rate(&self, num_images: usize) -> Rate {
        let num_images = num_images as f64;
        let cpu = num_images / (cpu_seconds() - self.cpu_seconds);
        Rate { wall: num_images / self.wall.elapsed().as_secs_f64(), cpu }
    }
}
