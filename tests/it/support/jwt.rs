//! A NATS operator with its accounts and users, for servers that trust signed logins only.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account that has all of JetStream.
pub struct Operator {
    key: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

/// What a user logs in with.
pub struct User {
    pub jwt: String,
    pub seed: String,
}

impl Operator {
    pub fn new() -> Self {
        Self {
            key: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// The configuration of a server that trusts the operator, and has its account.
    pub fn server_config(&self) -> Result<String> {
        let account = signed(&self.key, &self.account, account(-1))?;
        let account = format!("{}: {account},", self.account.public_key());
        self.server_config_with(&account)
    }

    /// The same without the account.
    pub fn server_config_without_account(&self) -> Result<String> {
        self.server_config_with("")
    }

    fn server_config_with(&self, account: &str) -> Result<String> {
        let operator = signed(&self.key, &self.key, json!({ "type": "operator" }))?;
        let system = signed(&self.key, &self.system, account_without_storage())?;
        Ok(format!(
            "operator: {operator}\nsystem_account: {sys}\nresolver: MEMORY\n\
             resolver_preload: {{ {account} {sys}: {system} }}",
            sys = self.system.public_key(),
        ))
    }

    /// A new user of the account.
    pub fn user(&self) -> Result<User> {
        self.user_until(None)
    }

    /// A new user of the account, whose JWT ends that many seconds from now.
    pub fn user_for(&self, seconds: i64) -> Result<User> {
        self.user_until(Some(now()? + seconds))
    }

    fn user_until(&self, expires: Option<i64>) -> Result<User> {
        let key = KeyPair::new_user();
        let claims = json!({
            "type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        Ok(User {
            jwt: signed_until(&self.account, &key, claims, expires)?,
            seed: key.seed()?,
        })
    }
}

impl User {
    /// The text of the user's `.creds` file.
    pub fn credentials(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt, self.seed
        )
    }
}

fn account_without_storage() -> Value {
    account(0)
}

fn account(storage: i64) -> Value {
    json!({
        "type": "account",
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": storage, "disk_storage": storage, "streams": storage,
            "consumer": storage,
        },
        "default_permissions": { "pub": {}, "sub": {} },
    })
}

fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

fn signed(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> Result<String> {
    signed_until(issuer, subject, claims, None)
}

fn signed_until(
    issuer: &KeyPair,
    subject: &KeyPair,
    mut claims: Value,
    expires: Option<i64>,
) -> Result<String> {
    claims["version"] = json!(2);
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let mut body = json!({
        "jti": subject.public_key(),
        "iat": now()?,
        "iss": issuer.public_key(),
        "name": "test",
        "sub": subject.public_key(),
        "nats": claims,
    });
    if let Some(expires) = expires {
        body["exp"] = json!(expires);
    }
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let text = format!("{}.{}", encode(&header), encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}
