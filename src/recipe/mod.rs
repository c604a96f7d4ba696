//! Recipes: TOML that names every choice of a run.
pub mod settings;
pub use settings::Settings;
