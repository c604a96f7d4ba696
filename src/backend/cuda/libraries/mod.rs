//! CUDA's libraries: where they are searched, and what to do where one is missing.
//!
//! cudarc opens them by bare names and panics where the loader finds none. So each is opened here first, by its full
//! path where it lies in a folder that the loader does not know (pip's): the loader then finds it by the name it was
//! built with.

pub mod compile;
pub(crate) mod convolution;
pub(crate) mod precision;
pub(crate) mod product;
pub mod tuning;

use std::env;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::{cublaslt, cudnn, driver, nvrtc};
use libloading::Library;

use crate::error::{Error, Result};

/// Folders that are searched first, separated by colons.
pub const FOLDERS_VARIABLE: &str = "ALEXNET_CUDA_LIBRARIES";

/// The oldest cuDNN whose functions all exist.
const OLDEST_CUDNN: usize = 9_00_00;

/// A library that training on a GPU needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Driver,
    Nvrtc,
    CublasLt,
    Cudnn,
}

/// The versions of the libraries that were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// 13.0 as (13, 0).
    pub nvrtc: (u32, u32),
    /// 130002 stands for 13.0.2.
    pub cublas_lt: usize,
    /// 92801 stands for 9.28.1.
    pub cudnn: usize,
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nvrtc, cublas_lt, cudnn } = self;
        write!(formatter, "cuDNN {}.{}.{}, ", cudnn / 10_000, cudnn / 100 % 100, cudnn % 100)?;
        write!(formatter, "cuBLASLt {}.{}.{}, ", cublas_lt / 10_000, cublas_lt / 100 % 100, cublas_lt % 100)?;
        write!(formatter, "NVRTC {}.{}", nvrtc.0, nvrtc.1)
    }
}

impl Wanted {
    /// In the order in which they need each other.
    const ALL: [Self; 4] = [Self::Driver, Self::Nvrtc, Self::CublasLt, Self::Cudnn];

    /// The names it goes by, the newest first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["libcuda.so.1"],
            Self::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12"],
            Self::CublasLt => &["libcublasLt.so.13", "libcublasLt.so.12"],
            Self::Cudnn => &["libcudnn.so.9"],
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Driver => "install the NVIDIA driver, or mount its libraries (containers: --gpus all)",
            Self::Nvrtc => "pip install nvidia-cuda-nvrtc, or install the CUDA toolkit",
            Self::CublasLt => "pip install nvidia-cublas, or install the CUDA toolkit",
            Self::Cudnn => "pip install nvidia-cudnn-cu13, or install cuDNN 9",
        }
    }

    /// Whether cudarc will find what has been opened.
    fn is_seen_by_cudarc(self) -> bool {
        // SAFETY: these open and close libraries, whose initialisers CUDA's users all run.
        unsafe {
            match self {
                Self::Driver => driver::sys::is_culib_present(),
                Self::Nvrtc => nvrtc::sys::is_culib_present(),
                Self::CublasLt => cublaslt::sys::is_culib_present(),
                Self::Cudnn => cudnn::sys::is_culib_present(),
            }
        }
    }
}

/// Opens all of them, once for this process; afterwards cudarc's functions may be called. The error says why not.
pub fn open() -> Result<Versions> {
    static OPENED: OnceLock<Result<Versions, String>> = OnceLock::new();
    OPENED.get_or_init(open_all).clone().map_err(Error::Device)
}

fn open_all() -> Result<Versions, String> {
    let folders = folders();
    for wanted in Wanted::ALL {
        open_one(wanted, &folders)?;
    }
    let versions = versions()?;
    if versions.cudnn < OLDEST_CUDNN {
        return Err(format!("found {versions}; expected cuDNN 9 or newer; {}", Wanted::Cudnn.remedy()));
    }
    Ok(versions)
}

fn open_one(wanted: Wanted, folders: &[PathBuf]) -> Result<(), String> {
    let mut refusals = Vec::new();
    for name in wanted.names() {
        let found = folders.iter().map(|folder| folder.join(name)).filter(|path| path.exists());
        // The loader's own folders come last: a second cuDNN there must not mix with the one that was asked for.
        for path in found.chain([PathBuf::from(name)]) {
            if wanted == Wanted::Nvrtc {
                open_nvrtc_builtins(&path);
            }
            // SAFETY: the initialisers of CUDA's libraries have no conditions.
            match unsafe { Library::new(&path) } {
                Ok(library) => {
                    // Open until the process ends, as cudarc keeps its own.
                    std::mem::forget(library);
                    return if wanted.is_seen_by_cudarc() {
                        Ok(())
                    } else {
                        Err(format!("{} was opened, but does not go by the name {name}", path.display()))
                    };
                }
                Err(error) if path.is_absolute() => refusals.push(error.to_string()),
                Err(_) => {}
            }
        }
    }
    Err(missing(wanted, folders, &refusals))
}

fn missing(wanted: Wanted, folders: &[PathBuf], refusals: &[String]) -> String {
    let mut text = format!("{} was not found", wanted.names().join(" or "));
    for refusal in refusals {
        let _ = write!(text, "; one could not be opened ({refusal})");
    }
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let _ = write!(
        text,
        "; searched: the folders in {FOLDERS_VARIABLE}, the loader's (LD_LIBRARY_PATH, ldconfig){}{}; {}",
        if folders.is_empty() { "" } else { ", " },
        folders.join(", "),
        wanted.remedy()
    );
    text
}

/// NVRTC opens its second half by name when it compiles; pip's folder is not among those that the loader knows.
fn open_nvrtc_builtins(nvrtc: &Path) {
    let Some(entries) = nvrtc.parent().and_then(|folder| folder.read_dir().ok()) else { return };
    let is_builtins = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libnvrtc-builtins.so.") && !name.contains("alt")
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(is_builtins) {
        // SAFETY: as for the others. If it cannot be opened, compiling says so.
        if let Ok(library) = unsafe { Library::new(path) } {
            std::mem::forget(library);
        }
    }
}

/// The folders that exist, in the order in which they are searched.
fn folders() -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let mut folders: Vec<PathBuf> =
        env::var_os(FOLDERS_VARIABLE).iter().flat_map(env::split_paths).filter(|folder| folder.is_dir()).collect();
    let python_roots = [
        variable("VIRTUAL_ENV").map(|folder| folder.join("lib")),
        variable("CONDA_PREFIX").map(|folder| folder.join("lib")),
        variable("HOME").map(|folder| folder.join(".local/lib")),
        Some(PathBuf::from("/usr/local/lib")),
        Some(PathBuf::from("/usr/lib")),
    ];
    folders.extend(python_roots.into_iter().flatten().flat_map(|root| pip_folders(&root)));
    let toolkits = [
        variable("CONDA_PREFIX").map(|folder| folder.join("lib")),
        variable("CUDA_HOME").map(|folder| folder.join("lib64")),
        variable("CUDA_PATH").map(|folder| folder.join("lib64")),
        Some(PathBuf::from("/usr/local/cuda/lib64")),
        Some(PathBuf::from("/usr/lib/wsl/lib")),
    ];
    folders.extend(toolkits.into_iter().flatten().filter(|folder| folder.is_dir()));
    folders
}

/// `lib/python3.12/site-packages/nvidia/cudnn/lib` and its like.
fn pip_folders(root: &Path) -> Vec<PathBuf> {
    let children = |folder: &Path| {
        let mut paths: Vec<_> = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let is_python = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"));
    let pythons = children(root).into_iter().filter(is_python);
    let packages = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)));
    packages
        .flat_map(|packages| children(&packages.join("nvidia")))
        .map(|package| package.join("lib"))
        .filter(|folder| folder.is_dir())
        .collect()
}

fn versions() -> Result<Versions, String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the libraries are open, and the pointers outlive the calls.
    unsafe {
        let status = nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor);
        if status != nvrtc::sys::nvrtcResult::NVRTC_SUCCESS {
            return Err(format!("nvrtcVersion failed: {status:?}"));
        }
        Ok(Versions {
            nvrtc: (major.unsigned_abs(), minor.unsigned_abs()),
            cublas_lt: cublaslt::sys::cublasLtGetVersion(),
            cudnn: cudnn::sys::cudnnGetVersion(),
        })
    }
}
