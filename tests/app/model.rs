//! Pushes, decisions, outages and kills in any order, against a model of a few lines: what is published is what the model says,
//! whole, after every step, and a decision is taken or refused as the model says.

use std::time::Duration;

use serde_json::json;

use super::site::{Site, assert_same};

const STEPS: usize = 60;

/// What there should be.
#[derive(Clone, Debug)]
struct Model {
    /// What the remote has.
    head: String,
    published: String,
    /// What was published before, which is still in the store.
    previous: String,
    paused: bool,
    pinned: Option<String>,
    down: bool,
    /// The last delivery, for sending it again.
    rung: Option<(String, String)>,
}

impl Model {
    /// Somebody looks: nothing else changes what is published.
    fn look(&mut self) {
        // A pin is carried out during a pause, too.
        if self.paused && self.pinned.as_ref().is_none_or(|pinned| *pinned == self.published) {
            return;
        }
        let wanted = match &self.pinned {
            Some(pinned) => pinned.clone(),
            None if self.down => return,
            None => self.head.clone(),
        };
        if wanted != self.published {
            self.previous = std::mem::replace(&mut self.published, wanted);
        }
    }
}

struct Run {
    site: Site,
    model: Model,
    random: fastrand::Rng,
    number: usize,
}

impl Run {
    async fn step(&mut self) -> &'static str {
        self.number += 1;
        let contents = format!("{}", self.number);
        match self.random.usize(..14) {
            // A push that nobody announces is not seen until somebody looks.
            0 if !self.model.down => {
                self.model.head = self.site.repo.push_file("silent", &contents, "silent");
                "a silent push"
            }
            1..=4 if !self.model.down => {
                let before = self.site.repo.head();
                let after = if self.random.u8(..4) == 0 {
                    self.site.repo.write("forced", &contents);
                    let after = self.site.repo.amend("rewritten");
                    self.site.repo.force_push();
                    after
                } else {
                    let path = format!("d{}/f", self.number % 5);
                    self.site.repo.push_file(&path, &contents, "change")
                };
                self.model.head.clone_from(&after);
                self.ring(before, after).await;
                "a push"
            }
            5 => {
                if let Some((before, after)) = self.model.rung.clone() {
                    self.ring(before, after).await;
                }
                "a replay"
            }
            6 => {
                self.decide("sync", json!({}), !self.model.paused).await;
                "sync"
            }
            7 => {
                self.model.paused = true;
                assert_eq!(self.site.post("pause", &json!({"minutes": 5})).await.0, 202);
                "pause"
            }
            8 => {
                let taken = std::mem::take(&mut self.model.paused);
                self.decide("resume", json!({}), taken).await;
                "resume"
            }
            9 => {
                let commit =
                    if self.random.bool() { self.model.previous.clone() } else { self.model.published.clone() };
                self.model.pinned = Some(commit.clone());
                self.decide("pin", json!({ "commit": commit }), true).await;
                "pin"
            }
            10 => {
                let taken = !self.model.paused && self.model.pinned.is_some();
                if taken {
                    self.model.pinned = None;
                }
                self.decide("unpin", json!({}), taken).await;
                "unpin"
            }
            11 => {
                self.model.down = !self.model.down;
                let (here, away) = (self.site.repo.bare(), self.site.path("away.git"));
                let (from, to) = if self.model.down { (here, away) } else { (away, here) };
                std::fs::rename(from, to).unwrap();
                if !self.model.down {
                    self.decide("sync", json!({}), !self.model.paused).await;
                }
                "the remote goes or comes"
            }
            _ => {
                self.site.sidecar().kill();
                self.site.start().await;
                self.model.look();
                "kill -9"
            }
        }
    }

    async fn ring(&mut self, before: String, after: String) {
        assert_eq!(self.site.ring(&before, &after).await.status, 202);
        self.model.rung = Some((before, after));
        self.model.look();
    }

    /// A decision: taken, and then somebody looks, or refused without an effect.
    async fn decide(&mut self, path: &str, body: serde_json::Value, taken: bool) {
        let mut status = self.site.post(path, &body).await;
        while status.1["code"] == "starting" {
            tokio::time::sleep(Duration::from_millis(20)).await;
            status = self.site.post(path, &body).await;
        }
        assert_eq!(status.0, if taken { 202 } else { 409 }, "{path}: {} in {:?}", status.1, self.model);
        if taken {
            self.model.look();
        }
    }

    async fn settle(&mut self, what: &str, seed: u64) {
        self.site.wait_published(&self.model.published).await;
        // What should not change has a moment to do it all the same.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let published = self.site.published();
        assert_eq!(published.as_ref(), Some(&self.model.published), "seed {seed}, after {what}: {:?}", self.model);
        assert_same(&self.site.link(), &self.site.repo, &self.model.published);
    }
}

#[tokio::test]
async fn any_order_of_pushes_decisions_outages_and_kills_ends_where_the_model_does() {
    // A fixed one, so that a failure can be seen again; PUSHSYNC_TEST_SEED tries another.
    let seed = std::env::var("PUSHSYNC_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let mut site = Site::new();
    site.set("hook-rate", "0");
    site.start_in_sync().await;
    let head = site.repo.head();
    let model = Model {
        head: head.clone(),
        published: head.clone(),
        previous: head,
        paused: false,
        pinned: None,
        down: false,
        rung: None,
    };
    let mut run = Run { site, model, random: fastrand::Rng::with_seed(seed), number: 0 };
    for _ in 0..STEPS {
        let what = run.step().await;
        run.settle(what, seed).await;
    }
    let snapshot = run.site.snapshot().await;
    assert_eq!((snapshot.pinned, snapshot.paused_until.is_some()), (run.model.pinned.clone(), run.model.paused));
    run.site.sidecar().terminate();
}
