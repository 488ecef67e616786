//! The form of a token and the content of its claims, one rule a case.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oidc::testing::{AUDIENCE, ISSUER, NOW, TENANT, claims, header, issuer};

/// A token with a signature that is of no interest here.
fn compose(header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(claims), part("signature"))
}

fn judge(token: &str, now: u64) -> Result<Identity, Denied> {
    let accepted = Unverified::parse(token)?.accept(&issuer(), now)?;
    Ok(accepted.identity)
}

fn check(token: &str, expect: Result<(), Denied>) {
    assert_eq!(judge(token, NOW).map(drop), expect, "{token:.200}");
}

fn check_header(member: &str, value: &Value, expect: Result<(), Denied>) {
    let mut header = header("a");
    if value.is_null() {
        header.as_object_mut().unwrap().remove(member);
    } else {
        header[member] = value.clone();
    }
    check(&compose(&header.to_string(), &claims().to_string()), expect);
}

fn with_claim(member: &str, value: &Value) -> String {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(member);
    } else {
        claims[member] = value.clone();
    }
    compose(&header("a").to_string(), &claims.to_string())
}

fn check_claim(member: &str, value: &Value, expect: Result<(), Denied>) {
    check(&with_claim(member, value), expect);
}

#[test]
fn a_good_token_says_who_it_is() {
    let token = compose(&header("a").to_string(), &claims().to_string());
    let identity = judge(&token, NOW).unwrap();
    assert_eq!(identity.issuer, ISSUER);
    assert_eq!(identity.subject, "subject");
    assert_eq!(identity.tenant.as_deref(), Some(TENANT));
    assert_eq!(identity.object.as_deref(), Some("object"));
    assert_eq!(identity.expires_at, NOW + 3600);
    assert_eq!(Value::Object(identity.claims), claims());
    assert_eq!(Unverified::parse(&token).unwrap().kid, "a");
}

#[test]
fn only_three_parts_of_plain_base64url_are_a_token() {
    let good = compose(&header("a").to_string(), &claims().to_string());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    check(&good, Ok(()));
    for bad in [
        String::new(),
        "..".into(),
        "...".into(),
        "a".into(),
        message.to_owned(),
        format!("{good}.{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{head}= .{payload}.{signature}"),
        format!("{head}.{payload} .{signature}"),
        format!("{head}.{payload}.+/"),
        format!("{head}..{signature}"),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("{} {}")),
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("\"x\"")),
        format!(
            "{head}.{}.{signature}",
            URL_SAFE_NO_PAD.encode([0xff, 0xfe])
        ),
    ] {
        check(&bad, Err(Denied::Malformed));
    }
}

#[test]
fn a_token_has_a_longest_length() {
    let padded = |length: usize| with_claim("pad", &json!("p".repeat(length)));
    let overhead = padded(0).len();
    let most = (MAX_TOKEN - overhead) / 4 * 3;
    check(&padded(most - 3), Ok(()));
    check(&padded(most + 9), Err(Denied::TooLong));
    check(&"a".repeat(1 << 20), Err(Denied::TooLong));
}

#[test]
fn only_rs256_counts_as_signed() {
    for alg in [
        json!("none"),
        json!("None"),
        json!("HS256"),
        json!("RS384"),
        json!("PS256"),
        json!("ES256"),
        json!("rs256"),
        json!(["RS256"]),
        json!(""),
        Value::Null,
    ] {
        check_header("alg", &alg, Err(Denied::Algorithm));
    }
}

#[test]
fn the_type_is_absent_or_a_jwt() {
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"] {
        check_header("typ", &json!(typ), Ok(()));
    }
    check_header("typ", &Value::Null, Ok(()));
    for typ in [
        json!("JOSE"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!(7),
    ] {
        check_header("typ", &typ, Err(Denied::Header));
    }
}

#[test]
fn extensions_that_change_the_meaning_are_refused() {
    check_header("crit", &json!(["exp"]), Err(Denied::Header));
    check_header("crit", &json!([]), Err(Denied::Header));
    check_header("b64", &json!(false), Err(Denied::Header));
    check_header("b64", &json!(true), Err(Denied::Header));
    check_header("zip", &json!("DEF"), Err(Denied::Header));
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    check_header("jku", &json!("https://evil.test/keys"), Ok(()));
    check_header("x5u", &json!("https://evil.test/x"), Ok(()));
    check_header("jwk", &json!({ "kty": "oct", "k": "AA" }), Ok(()));
    check_header("x5c", &json!(["AA"]), Ok(()));
}

#[test]
fn a_key_must_be_named() {
    check_header("kid", &Value::Null, Err(Denied::Header));
    check_header("kid", &json!(""), Err(Denied::Header));
    check_header("kid", &json!(7), Err(Denied::Header));
    check_header("kid", &json!("k".repeat(MAX_KID)), Ok(()));
    check_header("kid", &json!("k".repeat(MAX_KID + 1)), Err(Denied::Header));
}

#[test]
fn a_member_named_twice_is_refused() {
    let (head, body) = (header("a").to_string(), claims().to_string());
    let twice = |object: &str, member: &str| object.replacen('{', &format!("{{{member},"), 1);
    for member in [
        r#""alg":"none""#,
        r#""kid":"b""#,
        r#""alg":"RS256""#,
        r#""\u006bid":"b""#,
    ] {
        check(
            &compose(&twice(&head, member), &body),
            Err(Denied::Duplicate),
        );
    }
    for member in [
        r#""aud":"x""#,
        r#""exp":1"#,
        r#""iss":"x""#,
        r#""s\u0075b":"x""#,
    ] {
        check(
            &compose(&head, &twice(&body, member)),
            Err(Denied::Duplicate),
        );
    }
}

#[test]
fn every_required_claim_is_required() {
    for claim in ["exp", "aud", "iss", "sub", "tid"] {
        check_claim(claim, &Value::Null, Err(Denied::Missing));
    }
    for claim in ["nbf", "iat", "oid"] {
        check_claim(claim, &Value::Null, Ok(()));
    }
    check_claim("sub", &json!(""), Err(Denied::Missing));
    check_claim("aud", &json!([]), Err(Denied::Audience));
}

#[test]
fn a_claim_of_another_type_is_refused() {
    for claim in ["iss", "sub", "tid", "oid"] {
        for value in [json!(7), json!(["x"]), json!({}), json!(true)] {
            check_claim(claim, &value, Err(Denied::ClaimType));
        }
    }
    for value in [
        json!(7),
        json!({ "a": AUDIENCE }),
        json!([AUDIENCE, 7]),
        json!([[AUDIENCE]]),
    ] {
        check_claim("aud", &value, Err(Denied::ClaimType));
    }
    for claim in ["exp", "nbf"] {
        for value in [
            json!("1900000000"),
            json!(-1),
            json!(1.9e9),
            json!([1]),
            json!({}),
        ] {
            check_claim(claim, &value, Err(Denied::ClaimType));
        }
    }
    let body = claims().to_string().replacen('{', r#"{"exp":null,"#, 1);
    check(
        &compose(&header("a").to_string(), &body),
        Err(Denied::Duplicate),
    );
    let body = r#"{"iss":"i","sub":"s","aud":"a","exp":null}"#;
    check(
        &compose(&header("a").to_string(), body),
        Err(Denied::ClaimType),
    );
}

#[test]
fn the_issuer_is_exact() {
    check_claim("iss", &json!(format!("{ISSUER}/")), Err(Denied::Issuer));
    check_claim("iss", &json!(ISSUER.to_uppercase()), Err(Denied::Issuer));
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    check_claim("iss", &json!(v1), Err(Denied::Issuer));
    check_claim(
        "iss",
        &json!(&ISSUER[..ISSUER.len() - 1]),
        Err(Denied::Issuer),
    );
}

#[test]
fn the_audience_is_one_of_ours() {
    check_claim("aud", &json!([AUDIENCE]), Ok(()));
    check_claim("aud", &json!(["x", AUDIENCE]), Ok(()));
    check_claim("aud", &json!("x"), Err(Denied::Audience));
    check_claim("aud", &json!(format!("{AUDIENCE} ")), Err(Denied::Audience));
    check_claim(
        "aud",
        &json!(format!("api://{AUDIENCE}")),
        Err(Denied::Audience),
    );
}

/// Cognito's access tokens have no `aud`, and say whom they were issued to.
#[test]
fn another_claim_may_say_for_whom_a_token_is() {
    let cognito = Issuer {
        audience_claim: "client_id".to_owned(),
        claims: vec![("token_use".to_owned(), "access".to_owned())],
        ..issuer()
    };
    let check = |client_id: &Value, token_use: &Value, expect: Result<(), Denied>| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("aud");
        claims["client_id"] = client_id.clone();
        claims["token_use"] = token_use.clone();
        let token = compose(&header("a").to_string(), &claims.to_string());
        let token = Unverified::parse(&token).unwrap();
        assert_eq!(token.accept(&cognito, NOW).map(|_| ()), expect, "{claims}");
    };
    check(&json!(AUDIENCE), &json!("access"), Ok(()));
    check(&json!("x"), &json!("access"), Err(Denied::Audience));
    check(&json!(AUDIENCE), &json!("id"), Err(Denied::Kind));
    check(&json!(AUDIENCE), &json!(["access"]), Err(Denied::ClaimType));
    let token = Unverified::parse(&with_claim("client_id", &Value::Null))
        .map(|token| token.accept(&cognito, NOW).map(|_| ()));
    assert_eq!(token.unwrap(), Err(Denied::Missing));
}

#[test]
fn the_tenant_is_ours() {
    check_claim(
        "tid",
        &json!("9188040d-6c67-4c5b-b112-36a304b66dad"),
        Err(Denied::Tenant),
    );
    check_claim("tid", &json!("{tenantid}"), Err(Denied::Tenant));
    let anywhere = Issuer {
        tenants: vec![],
        ..issuer()
    };
    let token = with_claim("tid", &Value::Null);
    let token = Unverified::parse(&token).unwrap();
    assert!(token.accept(&anywhere, NOW).is_ok());
}

const OTHER: &str = "99999999-2222-3333-4444-555555555555";

/// Judges a token by an issuer of two tenants.
fn check_several(iss: &str, tid: &Value, expect: Result<(), Denied>) {
    let several = Issuer {
        issuer: "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
        tenants: vec![TENANT.to_owned(), OTHER.to_owned()],
        ..issuer()
    };
    let mut claims = claims();
    claims["iss"] = json!(iss);
    claims["tid"] = tid.clone();
    let token = compose(&header("a").to_string(), &claims.to_string());
    let accepted = Unverified::parse(&token).unwrap().accept(&several, NOW);
    assert_eq!(accepted.map(drop), expect, "{iss} {tid}");
}

#[test]
fn each_of_several_tenants_has_its_own_issuer() {
    let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    check_several(&of(TENANT), &json!(TENANT), Ok(()));
    check_several(&of(OTHER), &json!(OTHER), Ok(()));
    check_several(&of(OTHER), &json!(TENANT), Err(Denied::Issuer));
    check_several(&of(TENANT), &json!(OTHER), Err(Denied::Issuer));
    let stranger = "88888888-2222-3333-4444-555555555555";
    check_several(&of(stranger), &json!(stranger), Err(Denied::Tenant));
    check_several(&of("{tenantid}"), &json!("{tenantid}"), Err(Denied::Tenant));
    check_several(&of("{tenantid}"), &json!(TENANT), Err(Denied::Issuer));
    check_several(&of(TENANT), &Value::Null, Err(Denied::ClaimType));
    check_several(&of(TENANT), &json!(""), Err(Denied::Tenant));
}

/// Judges a token whose `iss` is that of version 1.0.
fn check_v1(v1_issuer: Option<&str>, iss: &str, ver: &Value, expect: Result<(), Denied>) {
    let issuer = Issuer {
        v1_issuer: v1_issuer.map(str::to_owned),
        ..issuer()
    };
    let mut claims = claims();
    claims["iss"] = json!(iss);
    claims["ver"] = ver.clone();
    let token = compose(&header("a").to_string(), &claims.to_string());
    let accepted = Unverified::parse(&token).unwrap().accept(&issuer, NOW);
    let key_issuer = accepted.map(|accepted| accepted.key_issuer);
    assert_eq!(
        key_issuer,
        expect.map(|()| ISSUER.to_owned()),
        "{iss} {ver}"
    );
}

#[test]
fn tokens_of_version_1_are_taken_where_that_is_said() {
    let ours = format!("https://sts.windows.net/{TENANT}/");
    let other = format!("https://sts.windows.net/{OTHER}/");
    let template = Some("https://sts.windows.net/{tenantid}/");
    let v1 = json!("1.0");
    check_v1(None, &ours, &v1, Err(Denied::Version));
    for issuer in [Some(ours.as_str()), template] {
        check_v1(issuer, &ours, &v1, Ok(()));
        check_v1(issuer, &other, &v1, Err(Denied::Issuer));
        check_v1(issuer, &ours, &json!("2.0"), Err(Denied::Issuer));
        check_v1(issuer, &ours, &Value::Null, Err(Denied::Issuer));
        check_v1(issuer, ISSUER, &json!("2.0"), Ok(()));
    }
}

#[test]
fn a_token_from_the_future_is_not_valid_yet() {
    for claim in ["nbf", "iat"] {
        check_claim(claim, &json!(NOW + 60), Ok(()));
        check_claim(claim, &json!(NOW + 61), Err(Denied::NotYetValid));
    }
}

fn check_groups(members: &[(&str, Value)], expect: &Groups) {
    let mut claims = claims();
    for (name, value) in members {
        claims[*name] = value.clone();
    }
    let token = compose(&header("a").to_string(), &claims.to_string());
    assert_eq!(judge(&token, NOW).unwrap().groups, *expect, "{members:?}");
}

#[test]
fn groups_are_known_only_when_the_token_lists_all_of_them() {
    let known = |groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        Groups::Known(groups.into())
    };
    check_groups(&[], &known(&[]));
    check_groups(&[("groups", json!(["a", "b"]))], &known(&["a", "b"]));
    check_groups(&[("groups", json!("a"))], &known(&["a"]));
    check_groups(&[("hasgroups", json!(false))], &known(&[]));
    let elsewhere = json!({"groups": "src1"});
    let named = [("_claim_names", elsewhere.clone())];
    check_groups(&named, &Groups::Unresolved);
    let both = [("_claim_names", elsewhere), ("groups", json!(["a"]))];
    check_groups(&both, &Groups::Unresolved);
    check_groups(&[("hasgroups", json!(true))], &Groups::Unresolved);
    check_groups(&[("hasgroups", json!("true"))], &Groups::Unresolved);
    check_groups(&[("groups", json!([7]))], &Groups::Unresolved);
    check_groups(&[("groups", json!({"a": 1}))], &Groups::Unresolved);
}

#[test]
fn roles_are_texts() {
    let roles = |value: Value| judge(&with_claim("roles", &value), NOW).unwrap().roles;
    assert_eq!(roles(json!(["Admin", "Reader"])), ["Admin", "Reader"]);
    assert_eq!(roles(json!("Admin")), ["Admin"]);
    assert!(roles(json!({"Admin": true})).is_empty());
}

#[test]
fn a_token_for_graph_is_named_as_such() {
    check_header("nonce", &json!("AQAB"), Err(Denied::GraphToken));
    for aud in GRAPH {
        check_claim("aud", &json!(aud), Err(Denied::GraphToken));
    }
    let mut graph = claims();
    graph["aud"] = json!(GRAPH[0]);
    graph["iss"] = json!(format!("https://sts.windows.net/{TENANT}/"));
    let token = compose(&header("a").to_string(), &graph.to_string());
    check(&token, Err(Denied::GraphToken));
    // The claim of an id_token is another matter than the header's member.
    check_claim("nonce", &json!("from the sign-in"), Ok(()));
}

#[test]
fn exp_has_no_leeway_and_nbf_a_minute() {
    let token = compose(&header("a").to_string(), &claims().to_string());
    let at = |now: u64| judge(&token, now).map(drop);
    assert_eq!(at(NOW + 3599), Ok(()));
    assert_eq!(at(NOW + 3600), Err(Denied::Expired));
    assert_eq!(at(NOW + 3601), Err(Denied::Expired));
    assert_eq!(at(NOW - 300 - SKEW), Ok(()));
    assert_eq!(at(NOW - 301 - SKEW), Err(Denied::NotYetValid));
    check_claim("exp", &json!(0), Err(Denied::Expired));
    check_claim("exp", &json!(u64::MAX), Ok(()));
    check_claim("nbf", &json!(u64::MAX), Err(Denied::NotYetValid));
}

proptest! {
    #[test]
    fn never_panics(token in "[A-Za-z0-9_.=+ -]{0,80}", head in ".{0,40}", body in ".{0,40}") {
        let _ = judge(&token, NOW);
        let _ = judge(&compose(&head, &body), NOW);
        let _ = judge(&compose(&header("a").to_string(), &body), NOW);
    }

    #[test]
    fn the_string_forms_of_claims_never_change_the_verdict(extra in "[a-z]{9,12}", value in ".{0,20}") {
        let token = with_claim(&extra, &json!(value));
        prop_assert!(judge(&token, NOW).is_ok());
    }
}

/// An id token of a registration that is client and API has its audience, and no scope.
#[test]
fn a_token_must_hold_one_of_our_scopes_where_there_are_some() {
    let expected = Issuer {
        scopes: vec!["tools.execute".to_owned(), "tools.read".to_owned()],
        ..issuer()
    };
    let check = |scp: &Value, expect: Result<(), Denied>| {
        let text = with_claim("scp", scp);
        let found = Unverified::parse(&text).and_then(|token| token.accept(&expected, NOW));
        assert_eq!(found.map(|_| ()), expect, "{scp}");
    };
    check(&json!("tools.execute"), Ok(()));
    check(&json!("other tools.read"), Ok(()));
    check(&json!("Tools.Execute tools"), Err(Denied::Scope));
    check(&json!(""), Err(Denied::Scope));
    check(&Value::Null, Err(Denied::Scope));
    check(&json!(["tools.execute"]), Err(Denied::ClaimType));
}
