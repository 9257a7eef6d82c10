//! The tour of the first start: a token's life as requests that can be pasted into a shell, with the answers that
//! the running service gave.

use super::document;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil::init::Printed;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Who makes a request of the tour.
#[derive(Clone, Copy)]
enum By {
    Owner,
    Gateway,
}

/// One stop of the tour. Credentials and what the first answer brings are shell variables in what is shown.
struct Stop {
    title: &'static str,
    method: Method,
    path: String,
    by: By,
    body: Option<(&'static str, String)>,
}

/// Plays the tour against the service at `address`.
///
/// # Errors
/// If an answer is not the one that the tour is about: the service does not work.
pub(crate) async fn play(address: SocketAddr, made: &Printed) -> Result<(), Box<dyn Error>> {
    document(&format!("URL='http://{address}'"));
    let issue = Stop {
        title: "Issue a personal token. Its plaintext is in this answer, and never again",
        method: Method::POST,
        path: "/v1/user/tokens".into(),
        by: By::Owner,
        body: Some(("application/json", r#"{"note":"tour","scopes":["read"]}"#.into())),
    };
    let issued = show(address, made, &issue, &[]).await?;
    let text = |field: &str| issued[field].as_str().unwrap_or_default().to_string();
    let variables = [("$PLAINTEXT", text("plaintext")), ("$ID", text("id"))];
    for (name, value) in &variables {
        document(&format!("{}='{value}'", &name[1..]));
    }
    for stop in rest() {
        show(address, made, &stop, &variables).await?;
    }
    Ok(())
}

/// What follows the issue.
fn rest() -> [Stop; 4] {
    let introspect = |title| Stop {
        title,
        method: Method::POST,
        path: "/oauth2/introspect".into(),
        by: By::Gateway,
        body: Some(("application/x-www-form-urlencoded", "token=$PLAINTEXT".into())),
    };
    let by_owner =
        |title, method, path: &str| Stop { title, method, path: path.into(), by: By::Owner, body: None };
    [
        introspect("Introspect it, as the gateway does for each request that it carries"),
        by_owner("Revoke it", Method::DELETE, "/v1/user/tokens/$ID"),
        introspect("Introspect it again: a revocation holds at once"),
        by_owner("The events that this left in the log", Method::GET, "/v1/events?subject=$ID"),
    ]
}

/// Shows a request, makes it, shows the answer.
async fn show(
    address: SocketAddr,
    made: &Printed,
    stop: &Stop,
    variables: &[(&str, String)],
) -> Result<Value, Box<dyn Error>> {
    document(&format!("\n# {}.", stop.title));
    document(&curl(stop));
    let (status, body) = ask(address, made, stop, variables).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    document(&format!("# HTTP {status}"));
    if !answer.is_null() {
        document(
            &serde_json::to_string_pretty(&answer)?.lines().map(|l| format!("#   {l}\n")).collect::<String>(),
        );
    }
    if status.is_success() { Ok(answer) } else { Err(format!("the tour ended early, with {status}").into()) }
}

fn curl(stop: &Stop) -> String {
    let method = if stop.body.is_some() || stop.method == Method::GET {
        String::new()
    } else {
        format!(" -X {}", stop.method)
    };
    let credential = match stop.by {
        By::Owner => r#" -H "Authorization: Bearer $TOKEN""#,
        By::Gateway => r#" -u "$GATEWAY:$SECRET""#,
    };
    let body = match &stop.body {
        Some(("application/json", body)) => format!(" -H 'Content-Type: application/json' -d '{body}'"),
        Some((_, body)) => format!(" -d \"{body}\""),
        None => String::new(),
    };
    format!("curl -sS{method} \"$URL{}\"{credential}{body}", stop.path)
}

async fn ask(
    address: SocketAddr,
    made: &Printed,
    stop: &Stop,
    variables: &[(&str, String)],
) -> Result<(StatusCode, Bytes), Box<dyn Error>> {
    let filled =
        |text: &str| variables.iter().fold(text.to_string(), |text, (name, value)| text.replace(name, value));
    let credential = match stop.by {
        By::Owner => format!("Bearer {}", made.owner.token),
        By::Gateway => {
            let pair = format!("{}:{}", made.gateway.client_id, made.gateway.client_secret);
            format!("Basic {}", STANDARD.encode(pair))
        }
    };
    let mut request = Request::builder()
        .method(&stop.method)
        .uri(filled(&stop.path))
        .header(header::HOST, address.to_string())
        .header(header::AUTHORIZATION, credential);
    if let Some((media_type, _)) = &stop.body {
        request = request.header(header::CONTENT_TYPE, *media_type);
    }
    let body = stop.body.as_ref().map(|(_, body)| filled(body)).unwrap_or_default();
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    Ok((answer.status(), answer.into_body().collect().await?.to_bytes()))
}
