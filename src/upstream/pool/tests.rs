use std::{collections::HashMap, time::Instant};

use super::{super::backend::Thresholds, *};

fn pool(backends: &str) -> Arc<Pool> {
    let config = serde_yaml::from_str(&format!("backends: {backends}")).unwrap();
    Pool::seeded("github", &config, &Metrics::new(), 1).unwrap()
}

fn check(yaml: &str, expect: &[&str]) {
    let config: Config = serde_yaml::from_str(yaml).unwrap();
    let found: Vec<String> = Pool::build("github", &config, &Metrics::new())
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|p| match p.help {
            Some(help) => format!("{}: {} ({help})", p.at, p.what),
            None => format!("{}: {}", p.at, p.what),
        })
        .collect();
    assert_eq!(found, expect, "{yaml}");
    let checked = config.check().err().map_or(0, |problems| problems.len());
    assert_eq!(checked, expect.len(), "{yaml}");
}

/// Finds every backend well, as checks do right after the start.
fn checked(pool: &Pool) {
    let thresholds = Thresholds {
        unhealthy_after: 2,
        healthy_after: 1,
    };
    for backend in pool.backends() {
        backend.succeeded(Instant::now(), thresholds);
    }
}

fn unhealthy(pool: &Pool, address: &str) {
    pool.find(address).unwrap().connect_failed(Instant::now());
}

/// Draws `times` times, dropping each pick before the next, and counts.
fn spread(pool: &Pool, times: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..times {
        let picked = pool.pick(&[]).unwrap();
        *counts
            .entry(picked.backend().address().to_owned())
            .or_default() += 1;
    }
    counts
}

#[test]
fn builds_what_is_right() {
    check("backends: ['127.0.0.1:9100']", &[]);
    check(
        "{backends: [{address: 'a.corp:1', weight: 3}, 'a.corp:2'], health_check: {expect: success}}",
        &[],
    );
}

#[test]
fn names_every_mistake_at_once() {
    check(
        "{backends: [{address: 'a:0', weight: 0}, 'b:1', 'b:1'], idle_timeout: 0s, \
         health_check: {path: health, unhealthy_after: 0, timeout: 25h}}",
        &[
            "backends[0].weight: found 0, expected 1 to 1000",
            "idle_timeout: found `0s`, expected more than nothing and at most a day",
            "health_check.timeout: found `1day 1h`, expected more than nothing and at most a day",
            "health_check.unhealthy_after: found 0, expected at least 1",
            "health_check.path: `health` is no path (a path begins with `/`, such as `/health`)",
            "backends[0]: `a:0` has no usable port, expected a number from 1 to 65535 after the colon",
            "backends[2]: `b:1` is listed twice (to give it a larger share, list it once with `weight: 2`)",
        ],
    );
    check(
        "backends: []",
        &["backends: expected at least one `host:port`"],
    );
    check(
        "backends: ['https://mcp.corp/mcp']",
        &[
            "backends[0]: `https://mcp.corp/mcp` is a URL, expected `host:port` \
           (write `mcp.corp:443`; for https add `tls: { sni: mcp.corp }` to the upstream)",
        ],
    );
}

#[test]
fn backends_are_read_and_written_like_people_write_them() {
    let yaml = "- a.corp:1\n- address: b.corp:2\n  weight: 3\n";
    let backends: Vec<super::super::BackendConfig> = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(serde_yaml::to_string(&backends).unwrap(), yaml);
    let error = |yaml: &str| {
        serde_yaml::from_str::<super::super::BackendConfig>(yaml)
            .unwrap_err()
            .to_string()
    };
    let unknown = error("{address: 'a:1', wieght: 3}");
    assert!(unknown.contains("unknown field `wieght`"), "{unknown}");
    let number = error("9100");
    assert!(
        number.contains("expected `host:port` or a map of `address` and `weight`"),
        "{number}"
    );
}

#[test]
fn idle_backends_are_picked_by_weight() {
    let pool = pool("[{address: 'a.test:1', weight: 3}, '127.0.0.1:2', '127.0.0.1:3']");
    let named = pool.find("a.test:1").unwrap();
    named.publish(&[([127, 0, 0, 1], 1).into()]);
    let counts = spread(&pool, 10_000);
    for (address, expect) in [("a.test:1", 6000), ("127.0.0.1:2", 2000)] {
        let found = counts[address];
        assert!(found.abs_diff(expect) < 300, "{address}: {found}");
    }
}

#[test]
fn the_less_loaded_of_two_is_picked() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2']");
    let busy = pool.find("127.0.0.1:1").unwrap().enter();
    assert_eq!(spread(&pool, 50)["127.0.0.1:2"], 50);
    drop(busy);
    assert_eq!(spread(&pool, 50).len(), 2);
}

#[test]
fn load_is_shared_out_by_weight() {
    let pool = pool("[{address: '127.0.0.1:1', weight: 3}, '127.0.0.1:2']");
    let picks: Vec<Picked> = (0..400).map(|_| pool.pick(&[]).unwrap()).collect();
    let inflight = |address| pool.find(address).unwrap().inflight();
    assert_eq!(inflight("127.0.0.1:1") + inflight("127.0.0.1:2"), 400);
    assert!(inflight("127.0.0.1:1").abs_diff(300) <= 3);
    drop(picks);
    assert_eq!(inflight("127.0.0.1:1") + inflight("127.0.0.1:2"), 0);
}

#[test]
fn many_equal_backends_stay_level() {
    let list: Vec<String> = (1..=10).map(|port| format!("'127.0.0.1:{port}'")).collect();
    let pool = pool(&format!("[{}]", list.join(", ")));
    let picks: Vec<Picked> = (0..1000).map(|_| pool.pick(&[]).unwrap()).collect();
    let loads = pool.backends().iter().map(|b| b.inflight());
    assert!(loads.clone().min() > Some(90) && loads.max() < Some(110));
    drop(picks);
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2']");
    let mut tried = vec![];
    while let Some(picked) = pool.pick(&tried) {
        tried.push(Arc::clone(picked.backend()));
    }
    assert_eq!(tried.len(), 2);
    assert!(!Arc::ptr_eq(&tried[0], &tried[1]));
}

#[test]
fn an_ejected_backend_is_found_but_not_picked() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2']");
    unhealthy(&pool, "127.0.0.1:1");
    assert_eq!(spread(&pool, 50)["127.0.0.1:2"], 50);
    assert!(!pool.find("127.0.0.1:1").unwrap().is_healthy());
    assert!(pool.find("127.0.0.1:3").is_none());
}

#[test]
fn who_was_not_checked_is_asked_when_nobody_is_healthy() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']");
    unhealthy(&pool, "127.0.0.1:1");
    assert!(pool.is_ready());
    let mut asked: Vec<String> = spread(&pool, 100).into_keys().collect();
    asked.sort();
    assert_eq!(asked, ["127.0.0.1:2", "127.0.0.1:3"]);
    let well = pool.find("127.0.0.1:3").unwrap();
    let once = Thresholds {
        unhealthy_after: 1,
        healthy_after: 1,
    };
    well.succeeded(Instant::now(), once);
    assert_eq!(spread(&pool, 100)["127.0.0.1:3"], 100);
    let tried = [Arc::clone(well)];
    let next = pool.pick(&tried).unwrap();
    assert_eq!(next.backend().address(), "127.0.0.1:2");
}

#[test]
fn the_last_resort_is_who_failed_longest_ago() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2']");
    assert!(pool.is_ready());
    let first = pool.pick(&[]).unwrap();
    let start = Instant::now();
    let at = |ms| start + std::time::Duration::from_millis(ms);
    let [one, two] = ["127.0.0.1:1", "127.0.0.1:2"].map(|a| pool.find(a).unwrap());
    one.connect_failed(at(10));
    two.connect_failed(at(20));
    assert!(!pool.is_ready());
    let resort = |expect| {
        assert_eq!(pool.pick(&[]).unwrap().backend().address(), expect);
    };
    resort("127.0.0.1:1");
    one.connect_failed(at(30));
    resort("127.0.0.1:2");
    assert!(pool.pick(&[Arc::clone(one), Arc::clone(two)]).is_none());
    drop(first);
}

#[test]
fn a_backend_without_address_is_not_picked() {
    let pool = pool("['nowhere.test:1']");
    assert!(pool.pick(&[]).is_none());
    assert!(pool.find("nowhere.test:1").unwrap().peer().is_none());
}

#[test]
fn the_status_says_why() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2']");
    let unchecked = r#""healthy":false,"reason":"unchecked: no health check has succeeded yet""#;
    let status = serde_json::to_string(&pool.status()).unwrap();
    assert_eq!(status.matches(unchecked).count(), 2, "{status}");
    checked(&pool);
    unhealthy(&pool, "127.0.0.1:1");
    let picked = pool.pick(&[]).unwrap();
    let status = serde_json::to_string(&pool.status()).unwrap();
    assert_eq!(
        status,
        r#"[{"address":"127.0.0.1:1","healthy":false,"reason":"a request found that no connection can be made","inflight":0},{"address":"127.0.0.1:2","healthy":true,"inflight":1}]"#
    );
    drop(picked);
}

#[test]
fn a_reload_without_change_keeps_the_pool() {
    let pool = pool("['127.0.0.1:1']");
    let again = pool.rebuild(pool.config(), &Metrics::new()).unwrap();
    assert!(Arc::ptr_eq(&pool, &again));
}

#[test]
fn a_reload_keeps_the_health_and_load_of_backends_that_stay() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']");
    checked(&pool);
    unhealthy(&pool, "127.0.0.1:1");
    let busy = pool.find("127.0.0.1:2").unwrap().enter();
    let yaml = "['127.0.0.1:1', '127.0.0.1:2', {address: '127.0.0.1:3', weight: 2}, '127.0.0.1:4']";
    let config = serde_yaml::from_str(&format!("backends: {yaml}")).unwrap();
    let new = pool.rebuild(&config, &Metrics::new()).unwrap();
    let status: Vec<(bool, u32)> = new
        .status()
        .iter()
        .map(|b| (b.healthy, b.inflight))
        .collect();
    // The last two are new: another weight, another address.
    assert_eq!(status, [(false, 0), (true, 1), (false, 0), (false, 0)]);
    assert_eq!(new.find("127.0.0.1:3").unwrap().weight(), 2);
    drop(busy);
    assert_eq!(new.find("127.0.0.1:2").unwrap().inflight(), 0);
}

#[test]
fn a_reload_that_changes_how_to_connect_makes_new_backends() {
    let pool = pool("['127.0.0.1:1']");
    let config = serde_yaml::from_str("{backends: ['127.0.0.1:1'], connect_timeout: 9s}");
    let new = pool.rebuild(&config.unwrap(), &Metrics::new()).unwrap();
    let [old, new] = [&pool, &new].map(|p| p.backends()[0].clone());
    assert!(!Arc::ptr_eq(&old, &new));
    let timeout = new.peer().unwrap().options.connection_timeout;
    assert_eq!(timeout, Some(std::time::Duration::from_secs(9)));
}

#[test]
fn backends_that_left_leave_the_metrics() {
    let metrics = Metrics::new();
    let build = |backends| {
        let config = serde_yaml::from_str(&format!("backends: {backends}")).unwrap();
        Pool::build("github", &config, &metrics).unwrap()
    };
    let old = build("['127.0.0.1:1', '127.0.0.1:2']");
    let new = build("['127.0.0.1:2', '127.0.0.1:3']");
    checked(&old);
    checked(&new);
    old.retire(Some(&new), &metrics);
    let text = metrics.render().unwrap();
    let healthy = |port| {
        format!("gateway_backend_healthy{{backend=\"127.0.0.1:{port}\",upstream=\"github\"}} 1")
    };
    assert!(!text.contains(&healthy(1)), "{text}");
    assert!(
        text.contains(&healthy(2)) && text.contains(&healthy(3)),
        "{text}"
    );
    assert!(!text.contains("127.0.0.1:1"), "{text}");
}

#[test]
fn picks_from_many_threads_balance_out() {
    let pool = pool("['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    drop(pool.pick(&[]).unwrap());
                }
            });
        }
    });
    assert!(pool.backends().iter().all(|b| b.inflight() == 0));
}
