//! CUDA's libraries: where they are searched, and what to do where one is missing.
//!
//! cudarc opens them by bare names, the unversioned one first, and panics where the loader finds none. So each is
//! opened here first: what the loader finds by the unversioned name, since cudarc will take that one; else by its full
//! path, in pip's folders and others that the loader does not know, after which the loader finds it by the name it was
//! built with. What cudarc has taken is compared with what was opened here.

pub mod compile;
pub(crate) mod convolution;
pub mod functions;
pub(crate) mod precision;
pub(crate) mod product;
pub mod tuning;

use std::env;
use std::ffi::{CStr, OsStr, c_void};
use std::fmt::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::{cublaslt, cudnn, driver, nvrtc};
use libloading::Library;

use crate::error::{Error, Result};

/// Folders that are searched first, separated by colons.
pub const FOLDERS_VARIABLE: &str = "ALEXNET_CUDA_LIBRARIES";

const NVML: &str = "libnvidia-ml.so.1";

/// The oldest cuDNN whose functions all exist.
const OLDEST_CUDNN: usize = 9_00_00;

/// The oldest driver that has every function that is called: cuEventElapsedTime_v2 came with 12.8.
const OLDEST_DRIVER: u32 = 12_080;

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
    /// CUDA's, as the driver speaks it: 13000 stands for 13.0.
    pub driver: u32,
    /// 13.0 as (13, 0).
    pub nvrtc: (u32, u32),
    /// 130002 stands for 13.0.2.
    pub cublas_lt: usize,
    /// 92801 stands for 9.28.1.
    pub cudnn: usize,
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nvrtc, cublas_lt, cudnn, .. } = self;
        write!(formatter, "cuDNN {}.{}.{}, ", cudnn / 10_000, cudnn / 100 % 100, cudnn % 100)?;
        write!(formatter, "cuBLASLt {}.{}.{}, ", cublas_lt / 10_000, cublas_lt / 100 % 100, cublas_lt % 100)?;
        write!(formatter, "NVRTC {}.{}", nvrtc.0, nvrtc.1)
    }
}

impl Versions {
    /// The CUDA version that the driver speaks, as `13.0`.
    pub fn driver(&self) -> String {
        dotted(self.driver)
    }
}

impl Wanted {
    /// The names it goes by, the newest first: those of CUDA's major version that the driver speaks, and older ones.
    fn names(self, driver_major: u32) -> &'static [&'static str] {
        let is_old = driver_major < 13;
        match self {
            Self::Driver => &["libcuda.so.1"],
            Self::Nvrtc if is_old => &["libnvrtc.so.12"],
            Self::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12"],
            Self::CublasLt if is_old => &["libcublasLt.so.12"],
            Self::CublasLt => &["libcublasLt.so.13", "libcublasLt.so.12"],
            Self::Cudnn => &["libcudnn.so.9"],
        }
    }

    /// The name by which cudarc looks for it first.
    fn unversioned(self) -> &'static str {
        match self {
            Self::Driver => "libcuda.so",
            Self::Nvrtc => "libnvrtc.so",
            Self::CublasLt => "libcublasLt.so",
            Self::Cudnn => "libcudnn.so",
        }
    }

    /// All functions of it that are called; the first is known to every version.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Driver => functions::DRIVER,
            Self::Nvrtc => functions::NVRTC,
            Self::CublasLt => functions::CUBLAS_LT,
            Self::Cudnn => functions::CUDNN,
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

    /// Where the copy lies that cudarc uses; nothing where it finds none.
    fn used_by_cudarc(self) -> Option<*const c_void> {
        // SAFETY: these open libraries, whose initialisers CUDA's users all run. `culib` panics where there is none.
        let library = unsafe {
            match self {
                Self::Driver => driver::sys::is_culib_present().then(|| driver::sys::culib()),
                Self::Nvrtc => nvrtc::sys::is_culib_present().then(|| nvrtc::sys::culib()),
                Self::CublasLt => cublaslt::sys::is_culib_present().then(|| cublaslt::sys::culib()),
                Self::Cudnn => cudnn::sys::is_culib_present().then(|| cudnn::sys::culib()),
            }
        };
        library.and_then(|library| self.address_in(library))
    }

    /// Where a library has the first of its functions.
    fn address_in(self, library: &Library) -> Option<*const c_void> {
        // SAFETY: it is not called by this type.
        let function = unsafe { library.get::<unsafe extern "C" fn()>(self.functions()[0].as_bytes()) };
        function.ok().map(|function| *function as *const c_void)
    }

    /// The functions that a library lacks.
    fn missing_in(self, library: &Library) -> Vec<&'static str> {
        // SAFETY: they are not called by this type.
        let has = |name: &&str| unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok();
        self.functions().iter().copied().filter(|name| !has(name)).collect()
    }
}

/// The file of a library, by the address of one of its functions.
fn file_of(address: *const c_void) -> PathBuf {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the pointer outlives the call; any address may be asked for.
    if unsafe { libc::dladdr(address, found.as_mut_ptr()) } == 0 {
        return PathBuf::from("a file that the loader does not name");
    }
    // SAFETY: filled in; the name lives as long as the library, which is never closed.
    let name = unsafe { CStr::from_ptr(found.assume_init().dli_fname) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

/// What was opened.
#[derive(Clone, Debug)]
struct Opened {
    versions: Versions,
    files: Vec<PathBuf>,
}

static OPENED: OnceLock<Result<Opened, String>> = OnceLock::new();

/// Opens all of them, once for this process; afterwards cudarc's functions may be called. The error says why not.
pub fn open() -> Result<Versions> {
    match OPENED.get_or_init(open_all) {
        Ok(opened) => Ok(opened.versions),
        Err(error) => Err(Error::Device(error.clone())),
    }
}

/// The files of the libraries that [`open`] has opened: the driver's, NVRTC's, cuBLASLt's and cuDNN's.
pub fn files() -> Vec<PathBuf> {
    OPENED.get().and_then(|opened| opened.as_ref().ok()).map_or_else(Vec::new, |opened| opened.files.clone())
}

/// Where NVML lies, which comes with the driver: the loader's name for it where it lies in no folder that is searched.
pub(crate) fn nvml() -> PathBuf {
    let folders = Folders::of_environment();
    let mut paths = folders.named.iter().chain(&folders.known).map(|folder| folder.join(NVML));
    paths.find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(NVML))
}

fn open_all() -> Result<Opened, String> {
    let folders = Folders::of_environment();
    let driver_file = open_one(Wanted::Driver, &folders, u32::MAX)?;
    let driver = driver_version()?;
    let (dotted, oldest) = (dotted(driver), dotted(OLDEST_DRIVER));
    if driver < OLDEST_DRIVER {
        return Err(format!("the NVIDIA driver speaks CUDA {dotted}, expected at least {oldest}; update the driver"));
    }
    let mut files = vec![driver_file];
    // All parts of cuDNN need it, and would fail one after another without saying so.
    // SAFETY: zlib's initialisers have no conditions.
    match unsafe { Library::new("libz.so.1") } {
        Ok(zlib) => std::mem::forget(zlib),
        Err(error) => return Err(format!("cuDNN needs libz.so.1 ({error}); install zlib (Debian: zlib1g)")),
    }
    for wanted in [Wanted::Nvrtc, Wanted::CublasLt, Wanted::Cudnn] {
        files.push(open_one(wanted, &folders, driver / 1000)?);
    }
    let versions = versions(driver)?;
    if versions.cudnn < OLDEST_CUDNN {
        return Err(format!("found {versions}; expected cuDNN 9 or newer; {}", Wanted::Cudnn.remedy()));
    }
    for (name, major) in [("NVRTC", versions.nvrtc.0), ("cuBLASLt", versions.cublas_lt as u32 / 10_000)] {
        if major > driver / 1000 {
            return Err(format!(
                "found {versions}, but the NVIDIA driver speaks CUDA {dotted}: {name} is too new for it; update the \
                 driver, or install the packages of CUDA {} (pip: nvidia-cuda-nvrtc-cu{0}, nvidia-cublas-cu{0})",
                driver / 1000
            ));
        }
    }
    Ok(Opened { versions, files })
}

/// Opens it, and returns its file.
fn open_one(wanted: Wanted, folders: &Folders, driver_major: u32) -> Result<PathBuf, String> {
    let mut refusals = Vec::new();
    let mut try_open = |path: &Path| {
        if wanted == Wanted::Nvrtc {
            open_nvrtc_builtins(path);
        }
        // SAFETY: the initialisers of CUDA's libraries have no conditions.
        match unsafe { Library::new(path) } {
            Ok(library) => {
                let found = wanted.address_in(&library).map(|address| (address, wanted.missing_in(&library)));
                // Open until the process ends, as cudarc keeps its own.
                std::mem::forget(library);
                found
            }
            Err(error) => {
                if path.is_absolute() {
                    refusals.push(error.to_string());
                }
                None
            }
        }
    };
    let in_folders = |folders: &[PathBuf]| -> Vec<PathBuf> {
        let names = wanted.names(driver_major).iter();
        let paths = names.flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        paths.filter(|path| path.exists()).collect()
    };
    let mut candidates = in_folders(&folders.named);
    if wanted != Wanted::Driver {
        candidates.push(PathBuf::from(wanted.unversioned()));
    }
    candidates.extend(in_folders(&folders.known));
    candidates.extend(wanted.names(driver_major).iter().map(PathBuf::from));
    let Some((opened, lacks)) = candidates.iter().find_map(|path| try_open(path)) else {
        return Err(missing(wanted, driver_major, folders, &refusals));
    };
    match wanted.used_by_cudarc() {
        Some(used) if used == opened && lacks.is_empty() => Ok(file_of(opened)),
        Some(used) if used == opened => Err(format!(
            "{} lacks {}: it is too old, or damaged; {}",
            file_of(opened).display(),
            lacks.join(", "),
            wanted.remedy()
        )),
        Some(used) => Err(format!(
            "{} was opened, but by the name {} the loader finds {}, which would be used instead; take its folder out \
             of LD_LIBRARY_PATH or ldconfig's, or name it in {FOLDERS_VARIABLE}",
            file_of(opened).display(),
            wanted.unversioned(),
            file_of(used).display()
        )),
        None => Err(format!("{} was opened, but has no name that it is looked for by", file_of(opened).display())),
    }
}

fn missing(wanted: Wanted, driver_major: u32, folders: &Folders, refusals: &[String]) -> String {
    let mut text = format!("{} was not found", wanted.names(driver_major).join(" or "));
    for refusal in refusals {
        let _ = write!(text, "; one could not be opened ({refusal})");
    }
    let folders = folders.named.iter().chain(&folders.known);
    let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
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

/// The folders that exist, each kind in the order in which it is searched.
struct Folders {
    /// Those that a person names.
    named: Vec<PathBuf>,
    /// Where libraries usually lie.
    known: Vec<PathBuf>,
}

impl Folders {
    fn of_environment() -> Self {
        let variable = |name| env::var_os(name).map(PathBuf::from);
        let named =
            env::var_os(FOLDERS_VARIABLE).iter().flat_map(env::split_paths).filter(|folder| folder.is_dir()).collect();
        let mut python_roots: Vec<PathBuf> =
            ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).map(|folder| folder.join("lib")).collect();
        python_roots.extend(roots_of_pythons(&env::var_os("PATH").unwrap_or_default()));
        python_roots.extend(variable("HOME").map(|folder| folder.join(".local/lib")));
        python_roots.extend(["/usr/local/lib", "/usr/lib"].map(PathBuf::from));
        let toolkits = [
            variable("CONDA_PREFIX").map(|folder| folder.join("lib")),
            variable("CUDA_HOME").map(|folder| folder.join("lib64")),
            variable("CUDA_PATH").map(|folder| folder.join("lib64")),
            Some(PathBuf::from("/usr/local/cuda/lib64")),
            Some(PathBuf::from("/usr/lib/wsl/lib")),
        ];
        let pip = python_roots.iter().flat_map(|root| pip_folders(root));
        let mut known = Vec::new();
        for folder in pip.chain(toolkits.into_iter().flatten().filter(|folder| folder.is_dir())) {
            if !known.contains(&folder) {
                known.push(folder);
            }
        }
        Self { named, known }
    }
}

/// The `lib` folders of the pythons in these folders of executables: of virtual environments too that are not
/// activated. Links are not followed first, since such an environment's python is one.
fn roots_of_pythons(path: &OsStr) -> Vec<PathBuf> {
    let has_python = |folder: &PathBuf| ["python3", "python"].iter().any(|name| folder.join(name).exists());
    let folders = env::split_paths(path).filter(has_python);
    folders.filter_map(|folder| Some(folder.parent()?.join("lib"))).collect()
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

fn driver_version() -> Result<u32, String> {
    let mut version = 0;
    // SAFETY: the driver's library is open; the pointer is to a number that outlives the call.
    let status = unsafe { driver::sys::cuDriverGetVersion(&raw mut version) };
    if status != driver::sys::CUresult::CUDA_SUCCESS {
        return Err(format!("cuDriverGetVersion failed: {status:?}"));
    }
    Ok(version.unsigned_abs())
}

/// 13000 as 13.0.
fn dotted(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn versions(driver: u32) -> Result<Versions, String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the libraries are open, and the pointers outlive the calls.
    unsafe {
        let status = nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor);
        if status != nvrtc::sys::nvrtcResult::NVRTC_SUCCESS {
            return Err(format!("nvrtcVersion failed: {status:?}"));
        }
        Ok(Versions {
            driver,
            nvrtc: (major.unsigned_abs(), minor.unsigned_abs()),
            cublas_lt: cublaslt::sys::cublasLtGetVersion(),
            cudnn: cudnn::sys::cudnnGetVersion(),
        })
    }
}
