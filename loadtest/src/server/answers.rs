//! What a server says of itself, and what the system says of it.

use std::{fs, io, net::SocketAddr, time::Duration};

use hyper::Method;

use super::{ANSWER, Server, ServerError, process};
use crate::http;

/// Reading the whole log may take longer.
const VERIFY: Duration = Duration::from_secs(60);

impl Server {
    /// What is wrong by its own account: the reasons in `/healthz`; empty when it is well.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ailments(&self) -> Result<Vec<String>, ServerError> {
        const PATH: &str = "/healthz";
        let answer = self.ask(self.options.listen, Method::GET, PATH, ANSWER).await?;
        if answer.status == 200 {
            return Ok(Vec::new());
        }
        let body = answer.json();
        let reasons = body["reasons"].as_array().cloned().unwrap_or_default();
        if reasons.is_empty() {
            return Ok(vec![format!("status {}: {}", answer.status, answer.text())]);
        }
        Ok(reasons.iter().map(ToString::to_string).collect())
    }

    /// Has it read its whole log: what does not fit, empty when everything does; and how many entries there are.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn verify(&self) -> Result<(Vec<String>, u64), ServerError> {
        const PATH: &str = "/v1/admin/verify";
        let answer = self.ask(self.options.admin, Method::POST, PATH, VERIFY).await?;
        let body = answer.json();
        let (Some(ok), Some(entries)) = (body["ok"].as_bool(), body["entries"].as_u64()) else {
            let what = format!("status {}: {}", answer.status, answer.text());
            return Err(ServerError::Unexpected { path: PATH, what });
        };
        let mut problems: Vec<String> = body["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        if !ok && problems.is_empty() {
            problems.push("not ok, without a reason".to_owned());
        }
        Ok((problems, entries))
    }

    /// How many partitions its log has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn partitions(&self) -> Result<u16, ServerError> {
        const PATH: &str = "/v1/admin/partitions";
        let answer = self.ask(self.options.admin, Method::GET, PATH, ANSWER).await?;
        let count = answer.json()["partitions"].as_array().map(Vec::len);
        count.and_then(|count| u16::try_from(count).ok()).ok_or_else(|| {
            let what = format!("status {}: {}", answer.status, answer.text());
            ServerError::Unexpected { path: PATH, what }
        })
    }

    /// Its metrics, as Prometheus text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String, ServerError> {
        let answer = self.ask(self.options.admin, Method::GET, "/metrics", ANSWER).await?;
        Ok(answer.text())
    }

    async fn ask(
        &self,
        address: SocketAddr,
        method: Method,
        path: &'static str,
        within: Duration,
    ) -> Result<http::Answer, ServerError> {
        http::ask(address, method, path, within)
            .await
            .map_err(|source| ServerError::Answer { path, source })
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64, ServerError> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(path).map_err(|source| process("look at", source))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kib| kib << 10)
            .ok_or_else(|| process("look at", io::Error::other("it has ended")))
    }
}
