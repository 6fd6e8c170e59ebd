//! How the C library's allocator gives memory back.
//!
//! By default it keeps what it has had once: a thread's arena grows by large pieces that are freed in another order, and after the
//! first of them it takes pieces of up to 32 MiB from there instead of from the system. A pod that had held 60 MiB of
//! bodies at a time stayed at 400 MiB. It reads its settings once, from the environment, before the program begins;
//! therefore the program starts itself anew with them.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Pieces of 128 KiB and more are the system's, and go back to it; few arenas, and each gives back what is free at its end.
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "4"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// Starts the program anew with the settings, in the same process, unless somebody has made some. Where that does not
/// work it goes on as it is: it only takes more memory.
pub(crate) fn give_back() {
    if !cfg!(target_env = "gnu") || SETTINGS.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let (Ok(program), mut arguments) = (env::current_exe(), env::args_os()) else { return };
    let Some(name) = arguments.next() else { return };
    // It comes back only with an error.
    drop(Command::new(program).arg0(name).args(arguments).envs(SETTINGS).exec());
}
