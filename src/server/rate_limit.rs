//! The limit of requests per second.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Settings;

/// A bucket that fills at a fixed rate, and gives a token to each request.
pub(super) struct RateLimiter {
    per_second: f64,
    burst: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimiter {
    /// The limit of `settings`, if there is one.
    pub(super) fn from_settings(settings: &Settings) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "at most a million")]
        let float = |count: usize| count as f64;
        let per_second = settings.max_requests_per_second.map(float);
        let by_interval = settings.rate_limit.map(|(interval, burst)| {
            let per_second = interval.as_secs_f64().recip();
            Self::new(per_second, float(burst))
        });
        by_interval.or_else(|| per_second.map(|per_second| Self::new(per_second, per_second)))
    }

    /// So many a second, and so many at once.
    fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            bucket: Mutex::new(Bucket {
                tokens: burst,
                filled: Instant::now(),
            }),
        }
    }

    /// Returns whether a request at `now` is within the limit.
    pub(super) fn try_acquire(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.burst);
        bucket.filled = bucket.filled.max(now);
        let is_permitted = bucket.tokens >= 1.0;
        if is_permitted {
            bucket.tokens -= 1.0;
        }
        is_permitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_per_second_are_limited() {
        let (rate, start) = (RateLimiter::new(10.0, 10.0), Instant::now());
        let count = |at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|_| rate.try_acquire(now)).count()
        };
        assert_eq!(count(0), 10);
        assert_eq!(count(50), 0);
        assert_eq!(count(500), 5);
        assert_eq!(count(400), 0, "a clock that goes back gives nothing");
        assert_eq!(count(60_000), 10);
    }
}
