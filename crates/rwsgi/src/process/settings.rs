//! From the options to what the supervisor is told.

use crate::config::{Config, Preload};
use crate::host::invocation::Invocation;
use crate::host::sizing::Sizing;
use crate::host::{access_log, identity};

/// What the supervisor is told.
pub(crate) fn supervisor(
    config: &Config,
    sizing: &Sizing,
    invocation: &Invocation,
) -> supervisor::Settings {
    supervisor::Settings {
        pool: sizing.pool,
        keeps_size: sizing.keeps_size,
        recycling: config.recycling,
        preload: match config.preload {
            Preload::Auto if sizing.loads_alone(config) => supervisor::Preload::Off,
            Preload::Auto => supervisor::Preload::Auto,
            Preload::On => supervisor::Preload::On,
            Preload::Off => supervisor::Preload::Off,
        },
        startup_timeout: config.startup_timeout,
        shutdown_timeout: config.shutdown_timeout,
        shutdown_delay: config.shutdown_delay,
        touch_reload: config.touch_reload.clone(),
        watch_modules: config.reload,
        reload_include: included(config, invocation),
        takes_over: false,
        program: supervisor::Program {
            descriptors: access_log::descriptors(config),
            ..invocation.program()
        },
        title: config.app.to_string(),
        identity: config.identity.clone(),
        logs: identity::logs(config),
    }
}

/// What changes in development beside modules.
fn included(config: &Config, invocation: &Invocation) -> Vec<supervisor::Include> {
    let folder = config
        .chdir
        .as_deref()
        .unwrap_or_else(|| invocation.folder());
    let patterns = config.reload_include.iter();
    let included = patterns.map(|pattern| supervisor::Include::matching(folder, pattern));
    // Each has been found to be one.
    included.filter_map(Result::ok).collect()
}
