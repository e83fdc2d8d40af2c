//! The state of one request's instance.

use eventual_batch_wasmtime::{KeyValueCtx, KeyValueCtxView, KeyValueView};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::http_hooks::{HttpHooks, MAX_FIELD_BYTES};
use super::memory::MemoryLimit;
use super::output::OutputLog;

/// The most random bytes that one call returns. The host holds them meanwhile.
const MAX_RANDOM_BYTES: u64 = 1024 * 1024;

/// What the host functions find in the store of an instance.
pub(super) struct GuestState {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: HttpHooks,
    key_value: KeyValueCtx,
    pub(super) memory: MemoryLimit,
}

impl GuestState {
    /// A state without files, environment and network. Its table holds at most so many resources.
    pub(super) fn new(key_value: KeyValueCtx, memory: usize, max_resources: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(max_resources);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        Self {
            table,
            wasi: WasiCtx::builder()
                .stdout(OutputLog::new("stdout"))
                .stderr(OutputLog::new("stderr"))
                // A socket is a file descriptor, of which the process has few.
                .allow_tcp(false)
                .allow_udp(false)
                .max_random_size(MAX_RANDOM_BYTES)
                .build(),
            http,
            hooks: HttpHooks::default(),
            key_value,
            memory: MemoryLimit::new(memory),
        }
    }

    pub(super) fn hooks(&mut self) -> &mut HttpHooks {
        &mut self.hooks
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl KeyValueView for GuestState {
    fn key_value(&mut self) -> KeyValueCtxView<'_> {
        KeyValueCtxView {
            ctx: &mut self.key_value,
            table: &mut self.table,
        }
    }
}
