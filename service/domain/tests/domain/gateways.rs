//! Gateways and their tokens.

use crate::history::{
    at, begun, digest, gateway, gateway_token, holder, issue, operator, scopes, session, token, value,
};
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::event::Event;
use counterfoil_domain::gateway::{GatewayChanged, GatewayRemoved, STANDING_TOKENS};
use counterfoil_domain::gateway_commands::{
    ChangeGateway, IssueGatewayToken, NewGatewayToken, RegisterGateway,
};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::{Kind, Owner, Reason, TokenRevoked};

fn register() -> Action {
    Action::RegisterGateway(RegisterGateway {
        id: gateway(2),
        name: value(30, "edge"),
        kinds: [Kind::Personal].into(),
        environment: None,
        token: gateway_token(0x100),
    })
}

fn another(number: u128) -> Action {
    Action::IssueGatewayToken(IssueGatewayToken { gateway: gateway(2), token: gateway_token(number) })
}

fn change() -> ChangeGateway {
    ChangeGateway { id: gateway(2), if_match: None, name: None, kinds: None, environment: None }
}

fn registered() -> crate::history::History {
    begun().and(session(1), register())
}

fn reason() -> Option<Reason> {
    Some(Reason::try_from("retired".to_owned()).unwrap())
}

fn remove() -> Action {
    Action::RemoveGateway { id: gateway(2), if_match: None, reason: reason() }
}

fn end(number: u128) -> Action {
    Action::RevokeGatewayToken { gateway: gateway(2), id: token(number), if_match: None, reason: reason() }
}

#[test]
fn a_gateway_is_registered_with_a_token_of_its_own() {
    let answer = Answer::Gateway(gateway(2), Some(token(0x100)));
    let history = begun().when(session(1), register()).answers(answer);
    assert_eq!(history.names_after(8), ["gateway.registered", "token.issued"]);
    let token = history.token(0x100);
    assert_eq!((token.kind, token.owner), (Kind::Gateway, Owner::Gateway(gateway(2))));
    assert_eq!((token.since, token.slot, &token.scopes), (10, None, &scopes(&["introspect"])));
    let past = NewGatewayToken { expires_at: Some(at(0)), ..gateway_token(0x100) };
    let late = RegisterGateway {
        id: gateway(2),
        name: value(30, "edge"),
        kinds: [].into(),
        environment: None,
        token: past,
    };
    begun().when(session(1), Action::RegisterGateway(late)).refused(Refusal::ExpiryInPast { at: at(0) });
}

#[test]
fn several_tokens_work_at_once_up_to_ten() {
    let mut history = registered();
    for number in 1..STANDING_TOKENS as u128 {
        history = history.and(session(1), another(0x100 + number));
    }
    assert!((0..10).all(|number| history.works(&digest(0x100 + number)).is_some()));
    let history = history.when(session(1), another(0x200)).refused(Refusal::LimitReached { limit: 10 });
    let revoked = TokenRevoked { id: token(0x103), reason: reason() };
    let history = history.when(session(1), end(0x103)).then([Event::TokenRevoked(revoked)]);
    let history = history.when(session(1), end(0x103)).already_so(Answer::Done);
    let history = history.and(session(1), another(0x200));
    assert_eq!(history.works(&digest(0x103)), None);
}

#[test]
fn a_change_names_only_what_changes() {
    let kinds = ChangeGateway { kinds: Some([Kind::Caller].into()), ..change() };
    let event =
        GatewayChanged { id: gateway(2), name: None, kinds: Some([Kind::Caller].into()), environment: None };
    let history = registered()
        .when(session(1), Action::ChangeGateway(kinds.clone()))
        .then([Event::GatewayChanged(event)]);
    let answer = Answer::Gateway(gateway(2), None);
    let history = history.when(session(1), Action::ChangeGateway(kinds)).already_so(answer);
    let history = history.when(session(1), Action::ChangeGateway(change())).already_so(answer);
    let stale = ChangeGateway { if_match: Some(vec![9]), name: Some(value(31, "x")), ..change() };
    let history = history.when(session(1), Action::ChangeGateway(stale)).refused(Refusal::ChangedMeanwhile);
    let named = ChangeGateway { if_match: Some(vec![11]), name: Some(value(31, "x")), ..change() };
    let history = history.when(session(1), Action::ChangeGateway(named)).happens();
    assert_eq!(history.state.gateways[&gateway(2)].kinds, [Kind::Caller].into());
    assert_eq!(history.state.gateways[&gateway(2)].name, value(31, "x").reference());
}

#[test]
fn a_removed_gateway_takes_its_tokens_along_and_does_not_come_back() {
    let history = registered().and(session(1), another(0x101));
    let event = Event::GatewayRemoved(GatewayRemoved { id: gateway(2), reason: reason() });
    let history = history.when(session(1), remove()).then([event]);
    assert_eq!((history.works(&digest(0x100)), history.works(&digest(0x101))), (None, None));
    assert!(history.works(&digest(0xFFFF)).is_some());
    let history = history.when(session(1), remove()).already_so(Answer::Done);
    let history = history.when(session(1), end(0x100)).already_so(Answer::Done);
    let history = history.when(session(1), another(0x102)).refused(Refusal::NotFound);
    let named = ChangeGateway { name: Some(value(31, "x")), ..change() };
    history.when(session(1), Action::ChangeGateway(named)).refused(Refusal::NotFound);
}

#[test]
fn a_gateway_and_its_tokens_end_as_they_were_seen() {
    let seen = |seqs: &[u64]| Some(seqs.to_vec());
    let end = |seqs: &[u64]| Action::RevokeGatewayToken {
        gateway: gateway(2),
        id: token(0x100),
        if_match: seen(seqs),
        reason: None,
    };
    let remove = |seqs: &[u64]| Action::RemoveGateway { id: gateway(2), if_match: seen(seqs), reason: None };
    let mut history = registered();
    for (action, seq) in [
        (&end as &dyn Fn(&[u64]) -> Action, history.state.tokens[&token(0x100)].seq),
        (&remove, history.clone().and(session(1), end(&[10])).state.gateways[&gateway(2)].seq),
    ] {
        history.clone().when(session(1), action(&[seq + 1])).refused(Refusal::ChangedMeanwhile);
        history = history.when(session(1), action(&[seq])).happens();
        history.clone().when(session(1), action(&[seq])).already_so(Answer::Done);
    }
}

#[test]
fn an_expired_gateway_token_frees_its_place() {
    let until = NewGatewayToken { expires_at: Some(at(60)), ..gateway_token(0x101) };
    let history = registered()
        .and(session(1), Action::IssueGatewayToken(IssueGatewayToken { gateway: gateway(2), token: until }));
    let history = history.at(60).when(session(1), end(0x101)).already_so(Answer::Done);
    assert_eq!(history.names_after(11), ["token.expired"]);
    assert_eq!(history.state.gateways[&gateway(2)].standing, [token(0x100)].into());
}

#[test]
fn a_gateways_token_is_ended_through_its_own_gateway_and_through_no_other_door() {
    registered().when(session(1), end(0xFFFF)).refused(Refusal::NotFound);
    registered()
        .when(session(1), Action::Revoke { id: token(0x100), if_match: None, reason: None })
        .refused(Refusal::NotFound);
    registered().when(session(1), end(0)).refused(Refusal::NotFound);
}

#[test]
fn those_who_manage_gateways_are_owners_and_admins() {
    for action in [register(), another(0x102), Action::ChangeGateway(change()), remove(), end(0x100)] {
        let history = registered().member(2, Role::Member).member(3, Role::Auditor);
        history.clone().when(session(2), action.clone()).refused(Refusal::Forbidden);
        history.clone().when(session(3), action.clone()).refused(Refusal::Forbidden);
        history.clone().when(operator(), action.clone()).refused(Refusal::Unauthenticated);
        let narrow = IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) };
        let history = history.and(session(1), Action::IssuePersonal(narrow));
        history.when(holder(1, 1), action).refused(Refusal::InsufficientScope("write"));
    }
}

#[test]
fn another_organizations_gateway_is_not_there() {
    let mut history = registered();
    history.state.gateways.get_mut(&gateway(2)).unwrap().organization =
        counterfoil_domain::ids::OrganizationId(uuid::Uuid::from_u128(0x99));
    for action in [another(0x102), Action::ChangeGateway(change()), remove(), end(0x100)] {
        history.clone().when(session(1), action).refused(Refusal::NotFound);
    }
}

#[test]
fn the_same_name_again_is_no_event() {
    let again = ChangeGateway { name: Some(value(31, "edge")), ..change() };
    registered().when(session(1), Action::ChangeGateway(again)).already_so(Answer::Gateway(gateway(2), None));
}

#[test]
fn an_environment_is_the_organizations_own_and_leaves_caller_keys_only() {
    let here = crate::history::bootstrap().environment;
    let at_environment = |environment| {
        let Action::RegisterGateway(register) = register() else { unreachable!() };
        Action::RegisterGateway(RegisterGateway { environment: Some(environment), ..register })
    };
    let history = begun().and(session(1), at_environment(here));
    assert!(!history.state.gateways[&gateway(2)].sees(Kind::Personal));
    let nowhere = counterfoil_domain::ids::EnvironmentId(uuid::Uuid::nil());
    begun().when(session(1), at_environment(nowhere)).refused(Refusal::UnknownEnvironment);
    let mut history = begun();
    history.state.environments.get_mut(&here).unwrap().organization =
        counterfoil_domain::ids::OrganizationId(uuid::Uuid::from_u128(0x99));
    history.when(session(1), at_environment(here)).refused(Refusal::UnknownEnvironment);
}

#[test]
fn an_environment_is_set_and_cleared_and_is_the_organizations_own() {
    let here = crate::history::bootstrap().environment;
    let change = |environment| Action::ChangeGateway(ChangeGateway { environment, ..change() });
    let changed = |environment| {
        Event::GatewayChanged(GatewayChanged { id: gateway(2), name: None, kinds: None, environment })
    };
    let sees = |history: &crate::history::History| history.state.gateways[&gateway(2)].sees(Kind::Personal);
    let answer = Answer::Gateway(gateway(2), None);
    let history = registered().when(session(1), change(Some(None))).already_so(answer);
    let history = history.when(session(1), change(Some(Some(here)))).then([changed(Some(Some(here)))]);
    assert!(!sees(&history));
    let history = history.when(session(1), change(Some(Some(here)))).already_so(answer);
    let history = history.when(session(1), change(None)).already_so(answer);
    let history = history.when(session(1), change(Some(None))).then([changed(Some(None))]);
    assert!(sees(&history));

    let nowhere = counterfoil_domain::ids::EnvironmentId(uuid::Uuid::nil());
    let mut history =
        history.when(session(1), change(Some(Some(nowhere)))).refused(Refusal::UnknownEnvironment);
    history.state.environments.get_mut(&here).unwrap().organization =
        counterfoil_domain::ids::OrganizationId(uuid::Uuid::from_u128(0x99));
    history.when(session(1), change(Some(Some(here)))).refused(Refusal::UnknownEnvironment);
}

#[test]
fn no_environment_is_written_otherwise_than_none_said() {
    let written = |environment| {
        let changed = GatewayChanged { id: gateway(2), name: None, kinds: None, environment };
        let text = serde_json::to_string(&changed).unwrap();
        assert_eq!(serde_json::from_str::<GatewayChanged>(&text).unwrap(), changed);
        text
    };
    assert!(!written(None).contains("environment"));
    assert!(written(Some(None)).contains("\"environment\":null"));
}
