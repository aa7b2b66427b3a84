//! `basic_auth_users`: users and passwords, as in Prometheus' web configuration.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::hash_queue::{Client, HashQueue};
use crate::value::{Fields, FromNode, Node};

/// Users and the bcrypt hashes of their passwords. Its `Debug` shows no hash.
#[derive(Clone)]
pub struct Users(Arc<UserDb>);

struct UserDb {
    hashes: BTreeMap<String, String>,
    /// Compared with the passwords of users who are not known, so that they take as long.
    dummy_hash: String,
    /// Hides passwords in the caches.
    key: hmac::Key,
    cache: Mutex<AccessCache>,
    queue: Arc<HashQueue>,
}

/// Results of earlier comparisons, because a hash for every scrape would cost too much.
#[derive(Default)]
struct AccessCache {
    /// The password of each user who has logged in. A user has one password, so every other one is
    /// wrong without a hash, and a flood of them delays nobody.
    right: HashMap<String, Vec<u8>>,
    /// Wrong passwords of users who have not logged in yet.
    wrong: HashSet<Vec<u8>>,
    /// The time that the last comparison took.
    took: Duration,
}

/// The result of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Granted,
    Denied,
    /// Too many other passwords wait to be compared.
    Busy,
}

/// Number of wrong passwords that are remembered.
const MAX_WRONG: usize = 1000;

/// Number of bytes of a password that bcrypt looks at.
const SIGNIFICANT_BYTES: usize = 72;

/// Maximum time that a password may wait for its hash.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The least cost that bcrypt knows.
const MIN_COST: u32 = 4;

/// The cost of a hash, beyond which a request would wait for seconds.
const MAX_COST: u32 = 15;

impl Users {
    /// Reads `basic_auth_users`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let check_name = |name: &str| {
            if name.is_empty() || name.contains([':', '\n', '\r']) {
                return Err((
                    "invalid user name".to_owned(),
                    "text without colons and line breaks",
                ));
            }
            Ok(())
        };
        fields.node("basic_auth_users")?;
        let problems = fields.problems().count();
        let hashes: BTreeMap<_, _> = fields
            .map::<PasswordHash>("basic_auth_users", check_name)
            .into_iter()
            .map(|(name, PasswordHash(hash))| (name, hash))
            .collect();
        // A mapping that was left empty by mistake must not let every client in.
        let Some(dummy_hash) = hashes.values().next().cloned() else {
            if fields.problems().count() == problems {
                let allowed = "";
                fields.add_value_problem(
                    "basic_auth_users",
                    "must list at least one user or be left out",
                    allowed,
                );
            }
            return None;
        };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        Some(Self(Arc::new(UserDb {
            hashes,
            dummy_hash,
            key: key.expect("the system has random numbers"),
            cache: Mutex::default(),
            queue: Arc::default(),
        })))
    }

    /// Returns whether a request with these headers, from the client at `peer`, is from one of them.
    pub(super) async fn authenticate(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Access {
        let Some((user, password)) = headers.get(header::AUTHORIZATION).and_then(credentials)
        else {
            return Access::Denied;
        };
        let users = &*self.0;
        let tag = users.tag(&user, &password);
        match users.recall(&user, &tag) {
            Some((Access::Denied, delay)) => {
                // As slow as a comparison, so that the time does not reveal which users exist.
                sleep(delay).await;
                return Access::Denied;
            }
            Some((access, _)) => return access,
            None => {}
        }
        let hash = users.hashes.get(&user);
        let client = Client::new(peer, hash.is_some().then(|| user.clone()));
        let Ok(slot) = timeout(MAX_WAIT, users.queue.acquire(client)).await else {
            return Access::Busy;
        };
        // The same password may have been compared meanwhile.
        if let Some((access, _)) = users.recall(&user, &tag) {
            return access;
        }
        let is_known = hash.is_some();
        let hash = hash.unwrap_or(&users.dummy_hash).clone();
        let users = self.clone();
        let verify = move || {
            // Continues if the client has gone away, and so keeps its slot.
            let _slot = slot;
            let started = Instant::now();
            let access = match bcrypt::verify(password, &hash) {
                Ok(true) if is_known => Access::Granted,
                _ => Access::Denied,
            };
            users.0.remember(user, tag, access, started.elapsed());
            access
        };
        spawn_blocking(verify).await.unwrap_or(Access::Busy)
    }
}

impl UserDb {
    /// A keyed hash of a user and a password, by which verdicts are remembered.
    fn tag(&self, user: &str, password: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(user.as_bytes());
        context.update(b"\n");
        let password = password.as_bytes();
        context.update(&password[..password.len().min(SIGNIFICANT_BYTES)]);
        context.sign().as_ref().to_vec()
    }

    /// The verdict on a password, if it is known without a hash, and the time a hash takes.
    fn recall(&self, user: &str, tag: &[u8]) -> Option<(Access, Duration)> {
        let cache = self.cache.lock();
        let access = match cache.right.get(user) {
            Some(right) if right == tag => Access::Granted,
            Some(_) => Access::Denied,
            None => cache.wrong.contains(tag).then_some(Access::Denied)?,
        };
        Some((access, cache.took))
    }

    fn remember(&self, user: String, tag: Vec<u8>, access: Access, took: Duration) {
        let mut cache = self.cache.lock();
        cache.took = took;
        if access == Access::Granted {
            cache.right.insert(user, tag);
            return;
        }
        if cache.wrong.len() >= MAX_WRONG {
            cache.wrong.clear();
        }
        cache.wrong.insert(tag);
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.hashes.keys()).finish()
    }
}

/// User and password of the scheme Basic (RFC 7617).
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

struct PasswordHash(String);

impl FromNode for PasswordHash {
    const EXPECTED: &'static str =
        "a bcrypt hash with a cost from 4 to 15, as printed by htpasswd -nBC 10";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        // The text is not repeated: it may be the password itself.
        let parts: HashParts = text.parse().map_err(|_| "invalid bcrypt hash")?;
        if !(MIN_COST..=MAX_COST).contains(&parts.get_cost()) {
            return Err(format!("has the cost {}", parts.get_cost()));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_basic_scheme_is_accepted() {
        let read = |text: &'static str| credentials(&HeaderValue::from_static(text));
        let prometheus = Some(("prometheus".to_owned(), "a:b".to_owned()));
        assert_eq!(read("Basic cHJvbWV0aGV1czphOmI="), prometheus);
        assert_eq!(read("bASIC  cHJvbWV0aGV1czphOmI="), prometheus);
        for text in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Bearer cHJvbWV0aGV1czphOmI=",
            "Basic YQ==",
            "Basic /zo=",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_in_place_of_its_hash_is_refused_and_not_repeated() {
        let read = |text: &str| PasswordHash::from_node(&Node::Text(text.to_owned())).map(|_| ());
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        assert_eq!(read(hash), Ok(()));
        assert_eq!(read("hunter2"), Err("invalid bcrypt hash".to_owned()));
        let dear = hash.replace("$10$", "$16$");
        assert_eq!(read(&dear), Err("has the cost 16".to_owned()));
    }
}
