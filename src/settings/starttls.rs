//! The names of the protocols that `starttls` may have.

use crate::{
    net::StartTls,
    value::{FromNode, Node},
};

impl FromNode for StartTls {
    const EXPECTED: &'static str = "smtp, imap, pop3, ftp, ldap, postgres or mysql";

    fn from_node(node: &Node) -> Result<Self, String> {
        Ok(match String::from_node(node)?.as_str() {
            "smtp" => Self::Smtp,
            "imap" => Self::Imap,
            "pop3" => Self::Pop3,
            "ftp" => Self::Ftp,
            "ldap" => Self::Ldap,
            "postgres" => Self::Postgres,
            "mysql" => Self::Mysql,
            other => return Err(format!("unknown STARTTLS protocol {other:?}")),
        })
    }
}
