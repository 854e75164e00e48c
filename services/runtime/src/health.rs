//! Health: named components, each healthy or degraded for a reason, and whether the process takes connections.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::lock;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The health of a process. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    ready: AtomicBool,
    checks: Mutex<Vec<(String, Check)>>,
}

/// A component that is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// The component.
    pub component: String,
    /// Why.
    pub reason: String,
}

impl Health {
    /// Adds a component. `check` is called for every report: it must be quick, must not block, and must not report
    /// health itself.
    pub fn register(
        &self,
        component: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        lock(&self.inner.checks).push((component.into(), Box::new(check)));
    }

    /// The components that are degraded, in the order in which they were registered.
    pub fn degraded(&self) -> Vec<Degraded> {
        lock(&self.inner.checks)
            .iter()
            .filter_map(|(component, check)| {
                check().err().map(|reason| Degraded {
                    component: component.clone(),
                    reason,
                })
            })
            .collect()
    }

    /// Says whether connections are accepted. False at first, and again while draining.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// Whether connections are accepted.
    pub fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("ready", &self.is_ready())
            .field("degraded", &self.degraded())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_degraded_for_as_long_as_its_check_says_so() {
        let health = Health::default();
        let broken = Arc::new(AtomicBool::new(false));
        let check = broken.clone();
        health.register("log", move || {
            if check.load(Ordering::Relaxed) {
                Err("disk full".to_owned())
            } else {
                Ok(())
            }
        });
        health.register("documents", || Ok(()));
        assert!(health.degraded().is_empty());
        broken.store(true, Ordering::Relaxed);
        let degraded = Degraded {
            component: "log".into(),
            reason: "disk full".into(),
        };
        assert_eq!(health.clone().degraded(), [degraded]);
        broken.store(false, Ordering::Relaxed);
        assert!(health.degraded().is_empty());
    }

    #[test]
    fn nothing_is_ready_before_it_says_so() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.clone().set_ready(true);
        assert!(health.is_ready());
    }
}
