use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result};
use nkeys::XKey;
use wasmcloud_core::InterfaceLinkDefinition;
use wasmcloud_core::secrets::SecretValue;

/// A link from a component to the provider, or from the provider to a component.
///
/// Unless told otherwise its name is `default` and it links `wrpc:keyvalue/eventual-batch`.
#[derive(Clone)]
pub struct LinkDefinition {
    /// The component.
    source: String,
    /// Whether the link begins at the provider.
    from_provider: bool,
    name: String,
    namespace: String,
    interfaces: Vec<String>,
    config: HashMap<String, String>,
    secrets: HashMap<String, SecretValue>,
}

impl fmt::Debug for LinkDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} {})", self.source, self.name)
    }
}

impl LinkDefinition {
    /// A link of this component.
    #[must_use]
    pub fn new(component: impl Into<String>) -> Self {
        Self {
            source: component.into(),
            from_provider: false,
            name: "default".to_owned(),
            namespace: "wrpc".to_owned(),
            interfaces: vec!["eventual-batch".to_owned()],
            config: HashMap::new(),
            secrets: HashMap::new(),
        }
    }

    /// A link from the provider to this component, over which it is told of changes. Its configuration
    /// is the source's.
    #[must_use]
    pub fn to_watcher(component: impl Into<String>) -> Self {
        Self {
            from_provider: true,
            ..Self::new(component).interface("wasi", "watcher")
        }
    }

    /// Sets the link's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Links `wasi:keyvalue/batch`, as for a component without the adapter.
    #[must_use]
    pub fn wasi_batch(mut self) -> Self {
        "wasi".clone_into(&mut self.namespace);
        self.interfaces = vec!["batch".to_owned()];
        self
    }

    /// Links all that a component may import of `wasi:keyvalue@0.2.0-draft`.
    #[must_use]
    pub fn wasi_keyvalue(mut self) -> Self {
        "wasi".clone_into(&mut self.namespace);
        self.interfaces = ["atomics", "batch", "store"].map(str::to_owned).to_vec();
        self
    }

    /// Links this interface of the package `keyvalue`, in place of any other.
    #[must_use]
    pub fn interface(mut self, namespace: impl Into<String>, interface: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self.interfaces = vec![interface.into()];
        self
    }

    /// Sets one key of the configuration.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Sets one secret. It crosses the lattice sealed, as a host seals it.
    #[must_use]
    pub fn secret(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let value = SecretValue::String(value.into());
        self.secrets.insert(key.into(), value);
        self
    }

    /// Sets one secret that is bytes.
    #[must_use]
    pub fn secret_bytes(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let value = SecretValue::Bytes(value.into());
        self.secrets.insert(key.into(), value);
        self
    }

    /// The component.
    #[must_use]
    pub fn source_id(&self) -> &str {
        &self.source
    }

    /// The link's name.
    #[must_use]
    pub fn link_name(&self) -> &str {
        &self.name
    }

    /// What a host tells the provider when the link is made.
    pub(crate) fn to_put(
        &self,
        provider_key: &str,
        host: &XKey,
        provider: &XKey,
    ) -> Result<InterfaceLinkDefinition> {
        let mut definition = self.to_delete(provider_key);
        let (config, sealed_secrets) = if self.from_provider {
            (
                &mut definition.source_config,
                &mut definition.source_secrets,
            )
        } else {
            (
                &mut definition.target_config,
                &mut definition.target_secrets,
            )
        };
        config.clone_from(&self.config);
        if !self.secrets.is_empty() {
            let secrets = serde_json::to_vec(&self.secrets).context("cannot encode secrets")?;
            let sealed = host
                .seal(&secrets, provider)
                .context("cannot seal the link's secrets")?;
            *sealed_secrets = Some(sealed);
        }
        Ok(definition)
    }

    /// What a host tells the provider when the link goes: which one, without its configuration.
    pub(crate) fn to_delete(&self, provider_key: &str) -> InterfaceLinkDefinition {
        let (source_id, target) = if self.from_provider {
            (provider_key.to_owned(), self.source.clone())
        } else {
            (self.source.clone(), provider_key.to_owned())
        };
        InterfaceLinkDefinition {
            source_id,
            target,
            name: self.name.clone(),
            wit_namespace: self.namespace.clone(),
            wit_package: "keyvalue".to_owned(),
            interfaces: self.interfaces.clone(),
            ..InterfaceLinkDefinition::default()
        }
    }
}
