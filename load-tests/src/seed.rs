//! Users and tokens in their thousands, made by the writer's own code: the same batches, events, entities and claims
//! as a running service makes.

use crate::Result;
use counterfoil::clock::{Clock, random};
use counterfoil::event_log::batch::{self, Input};
use counterfoil::event_log::clocks::Steady;
use counterfoil::postgres::connect::Database;
use counterfoil::postgres::settings::for_writer;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command, SecretText};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::ids::{OrganizationId, SessionId, TokenId, UserId, ValueId};
use counterfoil_domain::members::AddMember;
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::plaintext::{Digest, Plaintext};
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::value::Value;
use sqlx::{ConnectOptions, PgConnection};
use std::path::Path;

/// A token of a seeded user.
#[derive(Clone)]
pub(crate) struct Seeded {
    pub(crate) id: TokenId,
    pub(crate) plaintext: String,
}

/// Appends beside the service, as `init` does. Nobody else may append meanwhile.
pub(crate) struct Seeder {
    database: Database,
    connection: PgConnection,
    clock: Clock,
    organization: OrganizationId,
    head: u64,
    /// Who issues in transactions of their own, and how many it has issued.
    issuer: Option<((SessionId, UserId), u32)>,
}

/// Users in a batch.
const USERS: usize = 20;

impl Seeder {
    /// Joins the private cluster of a data directory.
    pub(crate) async fn open(data: &Path, organization: &str) -> Result<Self> {
        let database = Database::open(None, data, &|_| {}).await?;
        let mut connection = for_writer(&database.options).connect().await?;
        let head: i64 =
            sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events").fetch_one(&mut connection).await?;
        let organization = organization.parse()?;
        Ok(Self {
            database,
            connection,
            clock: Clock::system(),
            organization,
            head: head as u64,
            issuer: None,
        })
    }

    /// Makes users with `tokens` standing tokens each, and gives every token.
    pub(crate) async fn users(&mut self, count: usize, tokens: usize) -> Result<Vec<Vec<Seeded>>> {
        let mut seeded = Vec::with_capacity(count);
        while seeded.len() < count {
            let users = USERS.min(count - seeded.len());
            let mut commands = Vec::with_capacity(users * (tokens + 4));
            let mut next = self.head;
            for _ in 0..users {
                seeded.push(self.user(tokens, &mut next, &mut commands));
            }
            self.commit(&commands).await?;
        }
        Ok(seeded)
    }

    fn user(&self, tokens: usize, next: &mut u64, commands: &mut Vec<Command>) -> Vec<Seeded> {
        let (user, session) = (UserId(self.clock.uuid()), SessionId(self.clock.uuid()));
        let operator = Actor::Operator { command: "bench".into() };
        let email = format!("{user}@example.com");
        let value = Value { id: ValueId(self.clock.uuid()), salt: random(), text: email.clone() };
        let add =
            AddMember { user, email: value, email_key: email, number: *next as i64 + 1, role: Role::Member };
        commands.push(self.command(&operator, Action::AddMember(add)));
        let hash = SecretText("$argon2id$none".into());
        commands
            .push(self.command(&operator, Action::SetPassword(SetPassword { user, hash, checked: None })));
        // user.created, member.added, user.password_set
        *next += 3;
        let open = OpenSession {
            id: session,
            user,
            organization: self.organization,
            digest: Digest(random()),
            expires_at: self.clock.now().plus_seconds(3600),
            password_set: *next,
        };
        commands.push(self.command(&operator, Action::OpenSession(open)));
        let actor = Actor::Session { session_id: session, user_id: user };
        let seeded = (0..tokens)
            .map(|_| {
                let (command, seeded) = self.issue(&actor);
                commands.push(command);
                *next += 1;
                seeded
            })
            .collect();
        commands.push(self.command(&actor, Action::EndSession { id: session }));
        seeded
    }

    fn issue(&self, actor: &Actor) -> (Command, Seeded) {
        let (id, secret) = (TokenId(self.clock.uuid()), Plaintext::mint("cf_pat_", &random()));
        let (digest, hint) = (secret.digest(), secret.hint("cf_pat_"));
        let issue = IssuePersonal { id, digest, hint, scopes: None, expires_at: None, note: None };
        let command = self.command(actor, Action::IssuePersonal(issue));
        (command, Seeded { id, plaintext: secret.into_shown() })
    }

    fn command(&self, actor: &Actor, action: Action) -> Command {
        let (request_id, organization) = (self.clock.uuid(), self.organization);
        Command { actor: actor.clone(), request_id, organization, action }
    }

    /// Issues one token in a transaction of its own, for users of their own.
    pub(crate) async fn one_issue(&mut self) -> Result<()> {
        if self.issuer.is_none_or(|(_, issued)| issued == 50) {
            let mut next = self.head;
            let mut commands = Vec::new();
            self.user(0, &mut next, &mut commands);
            // The session stays open: it issues.
            commands.pop();
            let Action::OpenSession(open) = &commands[2].action else {
                return Err("the user's commands changed".into());
            };
            let actor = (open.id, open.user);
            self.commit(&commands).await?;
            self.issuer = Some((actor, 0));
        }
        let Some(((session_id, user_id), issued)) = self.issuer else { return Ok(()) };
        let (command, _) = self.issue(&Actor::Session { session_id, user_id });
        self.issuer = Some(((session_id, user_id), issued + 1));
        self.commit(&[command]).await
    }

    async fn commit(&mut self, commands: &[Command]) -> Result<()> {
        let commands: Vec<_> = commands.iter().map(|command| (command, None)).collect();
        let (clock, limits) = (&self.clock, Limits::default());
        let input = Input { commands: &commands, clock, steady: Steady::UNWATCHED, limits, faults: None };
        let committed = batch::run(&mut self.connection, &input, None).await?;
        if let Some(refused) = committed.replies.iter().find_map(|reply| reply.as_ref().err()) {
            return Err(format!("seeding was refused: {refused:?}").into());
        }
        self.head = committed.last;
        Ok(())
    }

    /// Gives the cluster up.
    pub(crate) async fn close(self) -> Result<()> {
        drop(self.connection);
        self.database.pool.close().await;
        if let Some(cluster) = self.database.private {
            cluster.leave(&|_| {}).await?;
        }
        Ok(())
    }
}
