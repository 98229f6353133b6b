//! Programs that behave badly: they end whole and in time, nothing waits for them, nothing of them is left.

use std::time::{Duration, Instant};

use pushsync::api::{Outcome, Record};

use super::{Script, is_alive};
use crate::app::site::Site;
use crate::support::{PATIENCE, eventually, skip};

async fn refused(body: &str, flags: &[(&str, &str)]) -> (Site, Script, Record) {
    let mut site = Site::new();
    let gate = Script::new(&site, "gate", body);
    site.set("pre-publish-exechook-command", &gate.command()).set("pre-publish-exechook-backoff", "1h");
    for (flag, value) in flags {
        site.set(flag, value);
    }
    site.start().await;
    let record = site.wait_record(|record| record.outcome == Outcome::Refused).await;
    assert_eq!(site.published(), None);
    (site, gate, record)
}

fn said(record: &Record) -> (&str, &str) {
    let error = record.error.as_ref().expect("why");
    (&error.kind, &error.message)
}

#[tokio::test]
async fn a_program_that_hangs_ends_with_all_it_started_at_its_timeout() {
    let body =
        r#"trap '' TERM; echo "still at it"; (trap '' TERM; sleep 1000) & echo $! $$ > "$HERE/pids"; sleep 1000"#;
    let started = Instant::now();
    let (_site, gate, record) = refused(body, &[("pre-publish-exechook-timeout", "500ms")]).await;
    println!("refused after {:?}", started.elapsed());
    let (kind, message) = said(&record);
    assert!(kind == "hook_timeout" && message.contains("500ms") && message.contains("still at it"), "{message}");
    let gate_ms = record.phases.gate_ms.unwrap();
    assert!((500..10_000).contains(&gate_ms), "{gate_ms}");
    for pid in gate.lines("pids")[0].split(' ') {
        assert!(!is_alive(pid), "{pid} lives");
    }
}

#[tokio::test]
async fn a_program_that_listens_to_sigterm_can_tidy_up() {
    let body = r#"trap 'echo tidied > "$HERE/tidied"; exit 0' TERM; while :; do sleep 0.05; done"#;
    let (_site, gate, record) = refused(body, &[("pre-publish-exechook-timeout", "300ms")]).await;
    assert_eq!(said(&record).0, "hook_timeout");
    assert_eq!(gate.lines("tidied"), ["tidied"]);
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it_and_nobody_waits_for_its_output() {
    // The first keeps our pipe, the second has let go of it, the third got itself a session of its own and keeps the pipe.
    let body = r#"sleep 1000 & echo $! >> "$HERE/pids"
sleep 1000 > /dev/null 2>&1 & echo $! >> "$HERE/pids"
setsid sh -c 'echo $$ >> "$1/daemon"; exec sleep 5' - "$HERE" &
while [ ! -s "$HERE/daemon" ]; do sleep 0.02; done
echo "I am done""#;
    let mut site = Site::new();
    let gate = Script::new(&site, "gate", body);
    site.set("pre-publish-exechook-command", &gate.command());
    let started = Instant::now();
    site.start_in_sync().await;
    println!("published after {:?}", started.elapsed());
    let pids = gate.lines("pids");
    assert_eq!(pids.len(), 2);
    eventually(PATIENCE, || pids.iter().all(|pid| !is_alive(pid))).await;
    site.sidecar().wait_for_text(PATIENCE, "left processes behind").await;
    let record = site.wait_record(|record| record.outcome == Outcome::Published).await;
    assert!(record.phases.gate_ms.unwrap() < 4_000, "{record:?}");
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_are_read_and_forgotten() {
    let body = "yes 'a line of much output' | head -c 100000000; printf 'the end \\033[31mof it'; exit 1";
    let (mut site, _gate, record) = refused(body, &[]).await;
    let (kind, message) = said(&record);
    assert!(kind == "refused" && message.ends_with("the end \u{fffd}[31mof it"), "{message}");
    assert!(message.len() < 2_000);
    println!("100 MB took {} ms", record.phases.gate_ms.unwrap());
    let detail = site.detail(&record.id).await.detail;
    assert!(detail.log.len() < 60, "{}", detail.log.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.sidecar().id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    println!("peak of the sidecar: {peak} kB");
    assert!(peak < 100_000, "{peak} kB");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_a_refusal_that_says_why_and_is_warned_of_at_start() {
    type Break = fn(&Site, &Script);
    let cases: [(&str, &str, Break); 3] = [
        ("missing", "No such file", |_, gate| std::fs::remove_file(&gate.path).unwrap()),
        ("not executable", "Permission denied", |_, gate| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&gate.path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("a folder", "Permission denied", |_, gate| {
            std::fs::remove_file(&gate.path).unwrap();
            std::fs::create_dir(&gate.path).unwrap();
        }),
    ];
    for (name, words, break_it) in cases {
        let mut site = Site::new();
        let gate = Script::new(&site, "gate", "exit 0");
        site.set("pre-publish-exechook-command", &gate.command()).set("pre-publish-exechook-backoff", "100ms");
        break_it(&site, &gate);
        site.start().await;
        site.sidecar().wait_for_line(PATIENCE, |line| line.contains("pre-publish-exechook-command: `")).await;
        let record = site.wait_record(|record| record.outcome == Outcome::Refused).await;
        let (kind, message) = said(&record);
        assert!(kind == "hook_not_started" && message.contains(words), "{name}: {message}");
        assert!(record.error.as_ref().unwrap().hint.is_some());
        assert_eq!(site.published(), None, "{name}");
        // It comes later, as from an image that is still being mounted.
        if gate.path.is_dir() {
            std::fs::remove_dir(&gate.path).unwrap();
        }
        gate.become_("exit 0");
        let head = site.repo.head();
        site.wait_published(&head).await;
    }
}

#[tokio::test]
async fn told_to_stop_it_ends_within_two_seconds_and_leaves_no_child() {
    let stubborn = r#"trap '' TERM; (trap '' TERM; sleep 1000) & echo $! $$ >> "$HERE/pids"; sleep 1000"#;
    for flag in ["pre-publish-exechook", "exechook"] {
        let mut site = Site::new();
        let hook = Script::new(&site, "hook", stubborn);
        site.set(&format!("{flag}-command"), &hook.command()).set(&format!("{flag}-timeout"), "20m");
        site.start().await;
        eventually(PATIENCE, || !hook.lines("pids").is_empty()).await;
        let stopping = Instant::now();
        site.sidecar().terminate();
        let status = site.sidecar().exited(PATIENCE).await;
        let took = stopping.elapsed();
        println!("{flag}: ended {took:?} after SIGTERM");
        assert_eq!(status.code(), Some(143));
        assert!(took < Duration::from_secs(2), "{took:?}");
        let pids = hook.lines("pids");
        for pid in pids[0].split(' ') {
            assert!(!is_alive(pid), "{flag}: {pid} lives");
        }
        assert!(!site.sidecar().log().join("\n").contains("the pre-publish hook refused"), "a stop is no refusal");
    }
}

#[tokio::test]
async fn a_program_gets_three_descriptors_its_environment_and_nothing_to_read() {
    let body = r#"for n in 0 1 2 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo $n; done > "$HERE/fds"
env > "$HERE/env"; cat > "$HERE/stdin"; readlink /proc/$$/fd/0 > "$HERE/null"; exit 0"#;
    let mut site = Site::new();
    let hook = Script::new(&site, "hook", body);
    site.set("pre-publish-exechook-command", &hook.command());
    site.start_in_sync().await;
    // The shell keeps its script open above 9, and whoever started the tests may have left us more than three.
    let fds = hook.lines("fds");
    let ours = |fd: &u32| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map_or("0", str::trim);
        !info.is_empty() && u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 == 0
    };
    let fds = fds.iter().map(|fd| fd.parse().unwrap());
    let inherited = fds.filter(|fd| *fd < 3 || !ours(fd));
    assert_eq!(inherited.collect::<Vec<u32>>(), [0, 1, 2]);
    assert_eq!(hook.lines("null"), ["/dev/null"]);
    let (env, head) = (hook.lines("env"), site.repo.head());
    for line in [format!("GITSYNC_HASH={head}"), format!("PUSHSYNC_HASH={head}")] {
        assert!(env.contains(&line), "{env:?}");
    }
    assert!(env.iter().any(|line| line.starts_with("PATH=")), "its own environment as well: {env:?}");
}

#[tokio::test]
async fn as_the_first_process_of_a_container_it_buries_orphans() {
    let body = r#"for n in 1 2 3 4 5; do setsid sh -c 'echo $$ >> "$1/orphans"; sleep 0.2' - "$HERE" > /dev/null 2>&1 & done
while [ "$(wc -l < "$HERE/orphans" 2> /dev/null || echo 0)" -lt 5 ]; do sleep 0.02; done"#;
    let mut site = Site::new();
    let hook = Script::new(&site, "hook", body);
    site.set("exechook-command", &hook.command());
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", env!("CARGO_BIN_EXE_pushsync")]);
    let may = std::process::Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        return skip("a process namespace (unshare --pid)");
    }
    command.args(site.arguments());
    site.sidecar = Some(crate::support::sidecar::Sidecar::spawn(command));
    let head = site.repo.head();
    site.wait_published(&head).await;
    eventually(PATIENCE, || hook.lines("orphans").len() == 5).await;
    // The child of `unshare` is the sidecar; its children are what nobody else would bury.
    let unshare = site.sidecar().id();
    let children = |pid: u32| -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let lists = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
        lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
    };
    let sidecar = children(unshare)[0];
    eventually(PATIENCE, || children(sidecar).is_empty()).await;
    site.sidecar().kill();
}

#[tokio::test]
async fn as_the_first_process_without_hooks_it_lists_no_processes_until_a_child_died() {
    let mut site = Site::new();
    // In place of /proc, a folder with a process whose state cannot be read: whoever looks for dead children waits there,
    // and is seen by that.
    let proc = site.path("proc");
    std::fs::create_dir_all(proc.join("7")).unwrap();
    let stat = proc.join("7/stat");
    assert!(std::process::Command::new("mkfifo").arg(&stat).status().unwrap().success());
    let is_listed = || {
        use std::os::unix::fs::OpenOptionsExt as _;
        let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
        std::fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(&stat).is_ok()
    };
    let unshare = |program: &str| {
        let mut command = std::process::Command::new("unshare");
        let script = format!("mount --bind {} /proc && {program}", proc.display());
        command.args(["--pid", "--fork", "--kill-child", "--mount", "/bin/sh", "-c", &script, "pushsync"]);
        command
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        return skip("a process namespace with a /proc of its own (unshare --pid --mount)");
    }
    site.set("period", "300ms");
    // The orphan lives until it is told to go.
    let gate = site.path("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let orphan = format!("(read line < {} &) ; ", gate.display());
    let mut command = unshare(&format!("{orphan} exec {} \"$@\"", env!("CARGO_BIN_EXE_pushsync")));
    command.args(site.arguments());
    site.started(crate::support::sidecar::Sidecar::spawn(command)).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    // Longer than the ten seconds after which it used to look each time; each poll is a sign that it went on.
    let end = Instant::now() + Duration::from_secs(11);
    let mut polls = site.snapshot().await.poll.unchanged;
    while Instant::now() < end {
        assert!(!is_listed(), "it lists processes though no child died");
        eventually_polled(&site, polls).await;
        polls = site.snapshot().await.poll.unchanged;
    }

    std::fs::write(&gate, "go\n").unwrap();
    eventually(PATIENCE, || {
        let listed = is_listed();
        std::thread::sleep(Duration::from_millis(1));
        listed
    })
    .await;
    assert_eq!(site.probe("/livez").await.0, 200);
}

async fn eventually_polled(site: &Site, before: u64) {
    let end = Instant::now() + PATIENCE;
    while site.snapshot().await.poll.unchanged <= before {
        assert!(Instant::now() < end, "it polls no more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
