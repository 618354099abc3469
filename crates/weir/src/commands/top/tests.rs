use weir_api::report::{
    BreakerFigures, EndpointFigures, Figures, LimitFigures, RouteFigures, ServiceFigures, Side, StateOf,
    Totals,
};

use super::cells::{Style, What, cell, per_second, share, time};
use super::detail;
use super::draw::{Line, Size, painted, picture};
use super::keys::Key;
use super::view::{Page, View, sorted};
use crate::cli::top::Sort;

fn service(name: &str, rate: f64, errors: f64) -> ServiceFigures {
    ServiceFigures {
        service: name.to_owned(),
        proxies: 2,
        requests: 1000,
        totals: Totals { classes: [0, 990, 0, 0, 10], own: 2 },
        requests_per_s: Some(rate),
        error_ratio: Some(errors),
        own_ratio: Some(0.0),
        p50_ms: Some(1.5),
        p99_ms: Some(120.0),
        retries_per_s: Some(0.0),
        endpoints_known: 2,
        ..ServiceFigures::default()
    }
}

fn figures() -> Figures {
    let endpoint = |id: &str, ejected_by: u64| EndpointFigures {
        id: id.to_owned(),
        address: "10.0.0.7:80".to_owned(),
        health: "passing".to_owned(),
        proxies: 2,
        ejected_by,
        ejected: (0..ejected_by)
            .map(|_| StateOf { proxy: "edge-1".to_owned(), state: "ejected for 3 s (1 in a row)".to_owned() })
            .collect(),
        ..EndpointFigures::default()
    };
    let cart = ServiceFigures {
        ejected: 1,
        endpoints: vec![endpoint("n/1", 0), endpoint("n/2", 1)],
        routes: vec![RouteFigures { route: "HTTPRoute/shop#0".to_owned(), ..RouteFigures::default() }],
        ..service("cart", 12.5, 0.06)
    };
    let callee = ServiceFigures { side: Side::Callee, ..service("cart", 12.0, 0.0) };
    Figures {
        proxies: 3,
        reporting: 2,
        missing: Vec::new(),
        oldest_ms: Some(400),
        services: vec![cart, callee, service("catalog", 350.0, 0.0)],
        limits: vec![LimitFigures {
            limit: "RateLimit/cart".to_owned(),
            target: "Service/cart".to_owned(),
            proxies: 2,
            admitted: 900,
            refused: 7,
            refused_per_s: Some(3.5),
            states: vec![StateOf { proxy: "edge-1".to_owned(), state: "token_bucket: 3 left".to_owned() }],
            ..LimitFigures::default()
        }],
        breakers: vec![BreakerFigures {
            breaker: "TrafficPolicy/cart#0".to_owned(),
            target: "Service/cart".to_owned(),
            proxies: 2,
            open: 1,
            refused: 41,
            refused_per_s: Some(4.2),
            states: vec![StateOf {
                proxy: "edge-1".to_owned(),
                state: "open (failureRatio): 9 failed".to_owned(),
            }],
            ..BreakerFigures::default()
        }],
        omitted: 0,
    }
}

fn view() -> View {
    let mut view = View::new("server http://127.0.0.1:8500".to_owned(), Sort::Rate);
    view.took(figures(), true);
    view
}

const WIDE: Size = Size { columns: 120, rows: 12 };

fn texts(view: &View, size: Size) -> Vec<String> {
    picture(view, size).iter().map(|line| line.text().trim_end().to_owned()).collect()
}

#[test]
fn the_list_as_people_see_it() {
    let expected = [
        "weir top  server http://127.0.0.1:8500  3 proxies (2 have reported)  sorted by rate",
        "breakers: 1 of 1 open   limits: 1, refusing 3.50/s   ejected endpoints: 1",
        "SERVICE           SEEN BY    REQ/S  ERRORS      P50      P99  IN FLIGHT  RETRY/S       BREAKER  BROKEN/S  LIMITED/S   EJECTED  PROXIES",
        "catalog            caller      350      0%   1.50ms    120ms          0        0             -         -          -       0/2        2",
        "cart               caller     12.5    6.0%   1.50ms    120ms          0        0      open 1/2      4.20       3.50       1/2        2",
        "cart               callee     12.0      0%   1.50ms    120ms          0        0      open 1/2      4.20       3.50       0/2        2",
        "",
        "",
        "",
        "",
        "",
        "q quit   j/k up and down   enter detail   s sort   / filter",
    ];
    assert_eq!(texts(&view(), Size { columns: 134, ..WIDE }), expected);
}

#[test]
fn breakers_of_routes_stand_under_the_services_that_they_lead_to() {
    let of = |breaker: &str, target: &str, part: &str| BreakerFigures {
        breaker: breaker.to_owned(),
        target: target.to_owned(),
        part: part.to_owned(),
        proxies: 1,
        open: 1,
        ..BreakerFigures::default()
    };
    let mut all = figures();
    all.breakers.extend([
        of("TrafficPolicy/shop#0", "HTTPRoute/shop", ""),
        of("TrafficPolicy/shop#1", "HTTPRoute/shop", "HTTPRoute/shop#0"),
        of("TrafficPolicy/shop#1", "HTTPRoute/shop", "HTTPRoute/shop#1"),
        of("TrafficPolicy/shop#2", "HTTPRoute/shop", "cart/n/1"),
        of("TrafficPolicy/shop#2", "HTTPRoute/shop", "catalog/n/7"),
        of("TrafficPolicy/other#0", "HTTPRoute/other", ""),
    ]);
    let cart = &all.services[0];
    let lines: Vec<String> = detail::lines(cart, &all).iter().map(Line::text).collect();
    let under = lines.iter().skip_while(|line| !line.starts_with("breakers"));
    let named: Vec<&str> = under.filter_map(|line| line.trim().split(": ").next()).collect();
    for expected in [
        "TrafficPolicy/cart#0",
        "TrafficPolicy/shop#0 of HTTPRoute/shop",
        "TrafficPolicy/shop#1 of HTTPRoute/shop for HTTPRoute/shop#0",
        "TrafficPolicy/shop#2 of HTTPRoute/shop for cart/n/1",
    ] {
        assert!(named.contains(&expected), "{expected}: {named:?}");
    }
    let others = ["shop#1 of HTTPRoute/shop for HTTPRoute/shop#1", "catalog", "other"];
    assert!(!named.iter().any(|line| others.iter().any(|other| line.contains(other))), "{named:?}");
}

#[test]
fn no_line_is_longer_than_the_terminal_and_there_are_no_more_of_them() {
    let mut view = view();
    for page in [Page::List, Page::Detail(0), Page::Detail(usize::MAX)] {
        view.page = page;
        view.chosen = Some(("cart".to_owned(), Side::Caller));
        for problem in [None, Some("cannot reach it".to_owned())] {
            view.problem = problem;
            for columns in 0..140 {
                for rows in 0..8 {
                    let lines = picture(&view, Size { columns, rows });
                    assert!(lines.len() <= rows, "{columns}x{rows}: {}", lines.len());
                    assert!(
                        lines.iter().all(|line| line.text().chars().count() <= columns),
                        "{columns}x{rows}"
                    );
                }
            }
        }
    }
}

#[test]
fn on_a_narrow_terminal_the_least_important_columns_go() {
    let heading = |columns| texts(&view(), Size { columns, rows: 12 })[2].clone();
    assert!(heading(100).contains("BREAKER") && !heading(100).contains("PROXIES"), "{}", heading(100));
    let narrow = heading(40);
    assert!(narrow.contains("REQ/S") && narrow.contains("ERRORS") && !narrow.contains("P50"), "{narrow}");
    assert!(heading(20).starts_with("SERVICE"));
}

#[test]
fn the_detail_of_a_service() {
    let mut view = view();
    view.press(Key::Down);
    view.press(Key::Enter);
    assert_eq!(view.page, Page::Detail(0));
    let text = texts(&view, Size { columns: 120, rows: 30 }).join("\n");
    for part in [
        "cart   seen by caller (2 proxies)",
        "12.5 requests/s, 6.0% failed, 0% answered by the proxy; p50 1.50ms, p99 120ms; 0 in flight",
        "1000 so far: 0 1xx, 990 2xx, 0 3xx, 0 4xx, 10 5xx",
        "HTTPRoute/shop#0",
        "n/2       10.0.0.7:80",
        "ejected 1/2",
        "n/2 at edge-1: ejected for 3 s (1 in a row)",
        "RateLimit/cart of Service/cart: refusing 3.50/s; 900 let through, 0 waited, 7 refused",
        "edge-1: token_bucket: 3 left",
        "TrafficPolicy/cart#0: open; refusing 4.20/s, 41 refused",
        "edge-1: open (failureRatio): 9 failed",
        "    and 1 more",
        "q quit   j/k up and down   esc back",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    // It scrolls, but not away.
    view.press(Key::End);
    let end = texts(&view, Size { columns: 120, rows: 6 });
    assert!(end[4].contains("and 1 more"), "{end:?}");
    view.press(Key::Esc);
    assert_eq!(view.page, Page::List);
    view.press(Key::Enter);
    view.took(Figures { proxies: 1, reporting: 1, ..Figures::default() }, true);
    assert!(texts(&view, WIDE).join("\n").contains("no proxy reports of this service any more"));
}

#[test]
fn the_choice_stays_with_its_service() {
    let mut view = view();
    let chosen = |view: &View| {
        let lines = picture(view, WIDE);
        let line = lines.iter().find(|line| line.chosen).map(Line::text);
        line.unwrap_or_default().split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(chosen(&view), "catalog caller");
    view.press(Key::Char('j'));
    assert_eq!(chosen(&view), "cart caller");
    let mut overtaken = figures();
    overtaken.services[0].requests_per_s = Some(9000.0);
    view.took(overtaken, true);
    assert_eq!(chosen(&view), "cart caller");
    assert!(texts(&view, WIDE)[3].starts_with("cart"), "it is the first now");
    view.press(Key::End);
    view.press(Key::Down);
    assert_eq!(chosen(&view), "cart callee");
    view.press(Key::Home);
    view.press(Key::Up);
    assert_eq!(chosen(&view), "cart caller");
    // Of a long list the part around the chosen row is shown.
    let services = (0..50).map(|number| service(&format!("s{number:02}"), 1.0, 0.0)).collect();
    view.took(Figures { services, ..figures() }, true);
    view.press(Key::End);
    let lines = texts(&view, WIDE);
    assert!(lines[10].starts_with("s49"), "{lines:?}");
}

#[test]
fn services_are_sorted_and_filtered() {
    let figures = figures();
    let names = |sort, filter: &str| {
        let rows = sorted(&figures, sort, filter).into_iter();
        rows.map(|row| format!("{}:{}", row.service, row.side.as_str())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Sort::Rate, ""), "catalog:caller cart:caller cart:callee");
    assert_eq!(names(Sort::Errors, ""), "cart:caller cart:callee catalog:caller");
    assert_eq!(names(Sort::Name, "cat"), "catalog:caller");
    let mut view = view();
    for key in [Key::Char('/'), Key::Char('q'), Key::Backspace, Key::Char('a'), Key::Char('r'), Key::Enter] {
        assert!(view.press(key), "{key:?} ends nothing while a filter is written");
    }
    assert_eq!((&*view.filter, view.rows().len()), ("ar", 2));
    view.press(Key::Char('s'));
    assert_eq!(view.sort, Sort::Errors);
    view.press(Key::Esc);
    assert_eq!(view.rows().len(), 3);
    view.press(Key::Char('/'));
    view.press(Key::Char('x'));
    assert!(texts(&view, WIDE).join("\n").contains("no service has `x` in its name"));
    assert!(texts(&view, WIDE)[11].starts_with("/x"));
    assert!(!view.press(Key::Interrupt));
    assert!(!super::view::View::default().press(Key::Char('q')));
}

#[test]
fn what_is_wrong_is_said_and_the_last_picture_stays() {
    let mut view = view();
    (view.problem, view.age_ms) = (Some("cannot reach it: refused".to_owned()), 7300);
    let lines = texts(&view, WIDE);
    assert!(lines[0].ends_with("7 s old"), "{}", lines[0]);
    assert_eq!(lines[1], "cannot reach it: refused; the picture is 7 s old");
    assert!(lines.iter().any(|line| line.starts_with("catalog")));
    view.took(Figures::default(), true);
    assert!(texts(&view, WIDE).join("\n").contains("no proxies are connected"));
    view.took(Figures { proxies: 1, ..Figures::default() }, true);
    assert!(texts(&view, WIDE).join("\n").contains("no proxy has reported yet"));
}

#[test]
fn nobody_can_give_the_terminal_orders() {
    let mut view = view();
    let mut evil = figures();
    evil.services[0].service = "a\x1b[2Jb\r\n".to_owned();
    evil.services[0].endpoints[0].id = "x\x1b]0;y\x07".to_owned();
    view.took(evil, true);
    view.chosen = Some(("a\x1b[2Jb\r\n".to_owned(), Side::Caller));
    for page in [Page::List, Page::Detail(0)] {
        view.page = page;
        let lines = picture(&view, Size { columns: 100, rows: 40 });
        assert!(lines.iter().all(|line| !line.text().chars().any(char::is_control)));
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let lines = picture(&view(), WIDE);
    let colourful = painted(&lines, true);
    assert!(colourful.contains("\x1b[0;1;31m") && colourful.contains("\x1b[0;7;32m"), "{colourful:?}");
    let plain = painted(&lines, false);
    assert!(!plain.contains("31m") && !plain.contains("32m") && !plain.contains("90m"));
    assert!(plain.contains("\x1b[0;7m"), "what is chosen is still to be seen");
    assert_eq!(
        painted(&[Line::new(Style::Plain, "a"), Line::default()], false),
        "\x1b[H\x1b[0ma\x1b[0m\x1b[K\r\n\x1b[0m\x1b[K\x1b[J"
    );
}

#[test]
fn numbers_are_short() {
    let rates = [None, Some(0.0), Some(0.256), Some(12.34), Some(950.4), Some(9999.9), Some(2_500_000.0)];
    assert_eq!(rates.map(per_second), ["-", "0", "0.26", "12.3", "950", "10.0k", "2.5M"]);
    assert_eq!(
        [None, Some(0.0), Some(0.0004), Some(0.051), Some(1.0)].map(share),
        ["-", "0%", "<0.1%", "5.1%", "100%"]
    );
    let times = [None, Some(0.05), Some(12.34), Some(250.0), Some(1500.0), Some(120_000.0)];
    assert_eq!(times.map(time), ["-", "0.05ms", "12.3ms", "250ms", "1.5s", "120s"]);
}

#[test]
fn a_throttle_stands_in_its_own_terms() {
    let of = |refusing: u64, refusing_share: f64, strategy: &str| {
        let mut all = figures();
        all.breakers[0] = BreakerFigures {
            open: 0,
            refusing,
            refusing_share,
            strategy: strategy.to_owned(),
            ..all.breakers[0].clone()
        };
        all
    };
    let check = |all: Figures, word: &str, style: Style, summary: &str| {
        let cart = &all.services[0];
        let cell = super::cells::cell(super::cells::What::Breaker, cart, &all);
        assert_eq!((&*cell.text, cell.style), (word, style));
        let detail: Vec<String> = detail::lines(cart, &all).iter().map(Line::text).collect();
        let expected = format!("  TrafficPolicy/cart#0: {word}; refusing 4.20/s, 41 refused");
        assert!(detail.contains(&expected), "{detail:?}");
        let mut view = view();
        view.took(all, true);
        assert!(texts(&view, WIDE)[1].starts_with(summary), "{:?}", texts(&view, WIDE)[1]);
    };
    check(of(2, 0.98, "throttle"), "throttle 98%", Style::Bad, "breakers: 0 of 1 open, 1 refusing in part");
    check(of(1, 0.004, "throttle"), "throttle <1%", Style::Bad, "breakers: 0 of 1 open, 1 refusing in part");
    check(of(1, 0.9971, "throttle"), "throttle 99%", Style::Bad, "breakers: 0 of 1 open, 1 refusing in part");
    check(of(1, 1.0, "window"), "ramp 100%", Style::Warn, "breakers: 0 of 1 open, 1 refusing in part");
    check(of(0, 0.0, "throttle"), "closed", Style::Good, "breakers: 0 of 1 open   ");
    check(of(1, 0.75, "window"), "ramp 75%", Style::Warn, "breakers: 0 of 1 open, 1 refusing in part");
    check(of(0, 0.0, "window"), "closed", Style::Good, "breakers: 0 of 1 open   ");
}

#[test]
fn what_is_in_shadow_does_not_count() {
    let mut all = figures();
    let tried = BreakerFigures { shadow: true, ..all.breakers[0].clone() };
    all.breakers[0] = BreakerFigures {
        breaker: "TrafficPolicy/cart#1".to_owned(),
        open: 0,
        refusing: 1,
        refusing_share: 0.25,
        strategy: "throttle".to_owned(),
        ..all.breakers[0].clone()
    };
    all.breakers.push(tried);
    all.limits.push(LimitFigures { shadow: true, ..all.limits[0].clone() });
    let shown = |all: &Figures| cell(What::Breaker, &all.services[0], all).text;
    assert_eq!(shown(&all), "throttle 25%", "not hidden by one that only counts");
    let detail = detail::lines(&all.services[0], &all);
    let expected = "  TrafficPolicy/cart#0, in shadow: open; refusing 4.20/s, 41 refused";
    let tried = detail.iter().find(|line| line.text() == expected);
    assert_eq!(tried.expect("it stands there").cells[1].style, Style::Warn);
    let mut view = view();
    view.took(all.clone(), true);
    let summary = "breakers: 0 of 1 open, 1 refusing in part   limits: 1, refusing 3.50/s   ";
    assert!(texts(&view, WIDE)[1].starts_with(summary), "{}", texts(&view, WIDE)[1]);
    all.breakers.remove(0);
    assert_eq!(shown(&all), "-");
}

#[test]
fn what_is_not_of_now_has_no_rate_yet() {
    let mut view = View::new("server".to_owned(), Sort::Rate);
    view.took(figures(), false);
    let wide = Size { columns: 134, ..WIDE };
    let row = |view: &View| texts(view, wide)[3].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(row(&view)[2..8], ["-", "-", "-", "-", "0", "-"]);
    view.took(figures(), true);
    assert_eq!(row(&view)[2..4], ["350", "0%"]);
    view.took(figures(), false);
    assert_eq!(row(&view)[2], "350", "one that hangs later on takes nothing away");
}

#[test]
fn a_limit_of_a_rule_is_in_the_row_of_what_it_leads_to() {
    let mut all = figures();
    all.services[2].routes =
        vec![RouteFigures { route: "HTTPRoute/shop#0".to_owned(), ..RouteFigures::default() }];
    all.limits = vec![LimitFigures {
        limit: "RateLimit/buy".to_owned(),
        target: "HTTPRoute/shop#buy".to_owned(),
        rule: "HTTPRoute/shop#1".to_owned(),
        refused_per_s: Some(2.5),
        ..LimitFigures::default()
    }];
    let shown = |all: &Figures| cell(What::Limit, &all.services[2], all).text;
    assert_eq!(shown(&all), "-", "it is of another rule");
    all.limits[0].rule = "HTTPRoute/shop#0".to_owned();
    assert_eq!(shown(&all), "2.50");
}

#[test]
fn a_rule_that_leads_elsewhere_is_marked() {
    let mut all = figures();
    let elsewhere =
        RouteFigures { route: "HTTPRoute/other#0".to_owned(), elsewhere: true, ..RouteFigures::default() };
    all.services[0].routes.push(elsewhere);
    let lines: Vec<String> = detail::lines(&all.services[0], &all).iter().map(Line::text).collect();
    let rule = |name: &str| lines.iter().find(|line| line.starts_with(&format!("  {name}"))).unwrap();
    assert!(rule("HTTPRoute/other#0 (leads elsewhere) ").ends_with("0"), "{lines:?}");
    assert!(!rule("HTTPRoute/shop#0").contains("elsewhere"), "{lines:?}");
}

#[test]
fn what_breakers_refuse_is_added_up_without_those_in_shadow() {
    let mut all = figures();
    let of = |shadow: bool, refused_per_s: Option<f64>| BreakerFigures {
        breaker: "TrafficPolicy/cart#1".to_owned(),
        target: "Service/cart".to_owned(),
        shadow,
        refused_per_s,
        ..BreakerFigures::default()
    };
    let shown = |all: &Figures| cell(What::Broken, &all.services[0], all).text;
    all.breakers.extend([of(false, Some(1.3)), of(true, Some(9.0)), of(false, None)]);
    assert_eq!(shown(&all), "5.50");
    all.breakers = vec![of(false, None)];
    assert_eq!(shown(&all), "-", "not known yet");
    all.breakers = vec![of(true, Some(9.0))];
    assert_eq!(shown(&all), "-", "it has none that refuses");
}

#[test]
fn limits_of_gateways_stand_below_where_there_is_room() {
    let mut all = figures();
    all.limits.push(LimitFigures {
        limit: "RateLimit/edge".to_owned(),
        target: "Gateway/edge".to_owned(),
        proxies: 1,
        admitted: 90,
        refused: 12,
        refused_per_s: Some(1.5),
        ..LimitFigures::default()
    });
    let mut view = view();
    view.took(all, true);
    let lines = texts(&view, Size { columns: 120, rows: 14 });
    let at = lines.iter().position(|line| line == "limits of gateways").expect("a heading");
    assert_eq!(lines[at + 1], "  LIMIT                     OF  LIMITED/S  REFUSED  LET THROUGH  PROXIES");
    assert_eq!(lines[at + 2], "  RateLimit/edge  Gateway/edge       1.50       12           90        1");
    assert!(!texts(&view, Size { columns: 120, rows: 7 }).contains(&"limits of gateways".to_owned()));
}

#[test]
fn a_service_that_was_asked_for_is_waited_for() {
    let mut view = View::new("server".to_owned(), Sort::Rate);
    view.wanted = Some("nosuch".to_owned());
    view.took(Figures { proxies: 1, reporting: 1, ..Figures::default() }, true);
    let lines = texts(&view, WIDE);
    assert!(lines.contains(&"no proxy reports of a service `nosuch` yet".to_owned()), "{lines:?}");
}
