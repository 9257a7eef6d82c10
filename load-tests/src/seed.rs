//! Users and tokens in their thousands, made by the writer's own code: the same batches, events, entities and claims
//! as a running service makes.

use crate::Result;
use counterfoil::clock::{Clock, random};
use counterfoil::event_log::batch::{self, Input};
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

/// A user who issues in transactions of their own.
pub(crate) struct Issuer {
    session: SessionId,
    user: UserId,
    /// How many tokens it has issued.
    pub(crate) issued: usize,
}

/// Appends beside the service, as `init` does. Nobody else may append meanwhile.
pub(crate) struct Seeder {
    database: Database,
    connection: PgConnection,
    clock: Clock,
    organization: OrganizationId,
    head: u64,
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
        Ok(Self { database, connection, clock: Clock::system(), organization, head: head as u64 })
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

    /// Makes users who will issue in transactions of their own: their sessions stay open.
    pub(crate) async fn issuers(&mut self, count: usize) -> Result<Vec<Issuer>> {
        let mut issuers = Vec::with_capacity(count);
        while issuers.len() < count {
            let (mut next, mut commands) = (self.head, Vec::new());
            for _ in 0..USERS.min(count - issuers.len()) {
                self.user(0, &mut next, &mut commands);
                // The last command ended the session.
                commands.pop();
                let Some(Action::OpenSession(open)) = commands.last().map(|command| &command.action) else {
                    return Err("the user's commands changed".into());
                };
                issuers.push(Issuer { session: open.id, user: open.user, issued: 0 });
            }
            self.commit(&commands).await?;
        }
        Ok(issuers)
    }

    /// Issues one token in a transaction of its own.
    pub(crate) async fn issue_alone(&mut self, issuer: &mut Issuer) -> Result<()> {
        let actor = Actor::Session { session_id: issuer.session, user_id: issuer.user };
        let (command, _) = self.issue(&actor);
        issuer.issued += 1;
        self.commit(&[command]).await
    }

    async fn commit(&mut self, commands: &[Command]) -> Result<()> {
        let commands: Vec<_> = commands.iter().map(|command| (command, None)).collect();
        let (clock, limits) = (&self.clock, Limits::default());
        let input = Input { commands: &commands, clock, limits, faults: None };
        let committed = batch::run(&mut self.connection, &input, None).await?;
        if let Some(refused) = committed.replies.iter().find_map(|reply| reply.as_ref().err()) {
            return Err(format!("seeding was refused: {refused:?}").into());
        }
        self.head = committed.last;
        Ok(())
    }

    /// Has the server do now what it would do beside what is measured: its upkeep of what a million inserts left, which it
    /// never has to do at once otherwise. pgbench does the same.
    pub(crate) async fn settle(&self) -> Result<()> {
        eprintln!("vacuuming …");
        let cluster = self.database.private.as_ref().ok_or("the cluster is not private")?;
        let mut superuser = cluster.superuser("counterfoil").connect().await?;
        sqlx::query("VACUUM (ANALYZE)").execute(&mut superuser).await?;
        Ok(())
    }

    /// The last event that it knows of.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Takes up a log to which others have appended since.
    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        let head: i64 =
            sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(&mut self.connection).await?;
        self.head = head as u64;
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
