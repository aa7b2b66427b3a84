//! The prefix of all paths, and the page at its root, as blackbox_exporter has them.

use http::{HeaderValue, StatusCode, header::LOCATION};

use super::response::{HttpResponse, text_response};

/// Where everything is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The prefix of all paths, such as `/blackbox`; may be empty.
    pub prefix: String,
    /// Where `/` leads if there is a prefix.
    pub(crate) external_url: String,
}

/// The path of the page of recent probes, which is at the root.
const ROOT: &str = "/probes";

impl Mount {
    /// `path` without the prefix.
    ///
    /// # Errors
    /// The response to a path that does not begin with it.
    pub(super) fn strip<'p>(&self, path: &'p str) -> Result<&'p str, Box<HttpResponse>> {
        match path.strip_prefix(&*self.prefix) {
            Some("" | "/") => Ok(ROOT),
            Some(path) if path.starts_with('/') => Ok(path),
            _ if path == "/" => {
                let mut response = text_response(StatusCode::FOUND, "");
                if let Ok(location) = HeaderValue::try_from(&self.external_url) {
                    response.headers_mut().insert(LOCATION, location);
                }
                Err(Box::new(response))
            }
            _ => {
                let response = text_response(StatusCode::NOT_FOUND, "not found\n");
                Err(Box::new(response))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_behind_the_prefix() {
        let mount = Mount {
            prefix: "/bb".to_owned(),
            external_url: "http://a.example/bb".to_owned(),
        };
        let strip = |path| {
            mount
                .strip(path)
                .map_err(|response| response.status().as_u16())
        };
        assert_eq!(strip("/bb/probe"), Ok("/probe"));
        assert_eq!(strip("/bb"), Ok(ROOT));
        assert_eq!(strip("/bb/"), Ok(ROOT));
        assert_eq!(strip("/"), Err(302));
        assert_eq!(strip("/bbb"), Err(404));
        assert_eq!(strip("/probe"), Err(404));
        assert_eq!(Mount::default().strip("/").ok(), Some(ROOT));
        assert_eq!(Mount::default().strip("/probe").ok(), Some("/probe"));
    }
}
