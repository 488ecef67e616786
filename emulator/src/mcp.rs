//! The sample MCP server that stands behind an emulated workload.
//!
//! It is built on the official SDK and speaks over a pair of byte streams, as a server in a
//! container speaks over its standard input and output. Every answer of [`Sample`] can be traced to
//! the process that gave it, so that a test can prove where a request went. It knows nothing about
//! HTTP, sessions or users: a server behind ToolHive's stdio proxy never sees the caller.

use std::time::Duration;

use rmcp::handler::server::router::prompt::PromptRouter;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, Implementation, ListResourcesResult, PaginatedRequestParams,
    ProgressNotificationParam, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, RequestMetaObject, Resource, ResourceContents, Role, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler, prompt, prompt_handler, prompt_router, tool,
    tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest answer that `large` makes, in bytes.
const LARGEST: usize = 64 << 20;

/// Longest time that a tool waits.
const LONGEST: Duration = Duration::from_secs(600);

/// Most steps that `progress` reports.
const MOST_STEPS: u32 = 10_000;

/// Address of the one resource.
pub const RESOURCE: &str = "sample://instance";

/// Which process answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Name of the workload.
    pub workload: String,
    /// Which of its replicas.
    pub replica: String,
    /// Which start of that replica; a restart counts up.
    pub generation: u32,
}

/// Arguments of `echo`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Echo {
    /// The text to return.
    text: String,
}

/// Arguments of `progress`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Progress {
    /// How many steps to report.
    steps: u32,
    /// Milliseconds between two steps.
    #[serde(default)]
    delay_ms: u64,
}

/// Arguments of `slow`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Slow {
    /// Milliseconds until the answer.
    ms: u64,
}

/// Arguments of `large`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Large {
    /// Length of the text in the answer, in bytes.
    bytes: usize,
}

/// Arguments of the prompt `greet`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Greet {
    /// Who is greeted.
    name: String,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Sample {
    instance: Instance,
    tool_router: ToolRouter<Self>,
    prompt_router: PromptRouter<Self>,
}

impl Sample {
    /// Returns a server that answers as that instance.
    #[must_use]
    pub fn new(instance: Instance) -> Self {
        Self {
            instance,
            tool_router: Self::tool_router(),
            prompt_router: Self::prompt_router(),
        }
    }

    fn instance_json(&self) -> String {
        // A struct of strings and a number always serializes.
        serde_json::to_string(&self.instance).unwrap_or_default()
    }
}

fn pause(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(LONGEST)
}

#[tool_router]
impl Sample {
    #[tool(
        description = "Returns the text it is given",
        annotations(title = "Echo", read_only_hint = true, idempotent_hint = true)
    )]
    async fn echo(&self, Parameters(Echo { text }): Parameters<Echo>) -> String {
        text
    }

    #[tool(
        description = "Says which workload, replica and start of it answers, as JSON",
        annotations(title = "Instance", read_only_hint = true, idempotent_hint = true)
    )]
    async fn instance(&self) -> String {
        self.instance_json()
    }

    #[tool(
        description = "Reports progress step by step, then answers",
        annotations(title = "Progress", read_only_hint = true)
    )]
    async fn progress(
        &self,
        Parameters(Progress { steps, delay_ms }): Parameters<Progress>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        let steps = steps.min(MOST_STEPS);
        for step in 1..=steps {
            if let Some(token) = meta.get_progress_token() {
                let report = ProgressNotificationParam::new(token, f64::from(step))
                    .with_total(f64::from(steps))
                    .with_message(format!("step {step} of {steps}"));
                // A caller that is gone does not end the work.
                let _ = client.notify_progress(report).await;
            }
            tokio::time::sleep(pause(delay_ms)).await;
        }
        Ok(format!("{steps} steps done"))
    }

    #[tool(
        description = "Answers after a while",
        annotations(title = "Slow", read_only_hint = true)
    )]
    async fn slow(&self, Parameters(Slow { ms }): Parameters<Slow>) -> String {
        tokio::time::sleep(pause(ms)).await;
        format!("answered after {ms} ms")
    }

    #[tool(
        description = "Answers with a text of that many bytes",
        annotations(title = "Large", read_only_hint = true, idempotent_hint = true)
    )]
    async fn large(
        &self,
        Parameters(Large { bytes }): Parameters<Large>,
    ) -> Result<String, ErrorData> {
        if bytes > LARGEST {
            return Err(ErrorData::invalid_params(
                format!("at most {LARGEST} bytes can be asked for, got `{bytes}`"),
                None,
            ));
        }
        Ok("x".repeat(bytes))
    }

    #[tool(
        description = "Fails, as a tool may",
        annotations(title = "Fail", read_only_hint = true)
    )]
    async fn fail(&self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text("this tool always fails")])
    }

    #[tool(
        description = "Tells every client that the list of tools changed",
        annotations(
            title = "Notify",
            read_only_hint = false,
            destructive_hint = true,
            open_world_hint = false
        )
    )]
    async fn notify(&self, client: Peer<RoleServer>) -> Result<String, ErrorData> {
        client.notify_tool_list_changed().await.map_err(|error| {
            ErrorData::internal_error(format!("the notification was not sent: {error}"), None)
        })?;
        Ok("told".to_owned())
    }
}

#[prompt_router]
#[expect(missing_docs, reason = "the macro adds a public function of its own")]
impl Sample {
    #[prompt(description = "Greets somebody")]
    async fn greet(&self, Parameters(Greet { name }): Parameters<Greet>) -> Vec<PromptMessage> {
        vec![PromptMessage::new_text(
            Role::User,
            format!("Say hello to {name}."),
        )]
    }
}

#[tool_handler(router = self.tool_router)]
#[prompt_handler(router = self.prompt_router)]
impl ServerHandler for Sample {
    fn get_info(&self) -> ServerConfig {
        let mut config = ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_prompts()
                .enable_resources()
                .build(),
        )
        .with_instructions("A sample server for trying out a gateway.");
        config.server_info = Implementation::new(&self.instance.workload, "1.0.0");
        config
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource =
            Resource::new(RESOURCE, "instance").with_description("Which process answers");
        Ok(ListResourcesResult::with_all_items(vec![resource]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != RESOURCE {
            return Err(ErrorData::resource_not_found(
                format!("no resource at `{}`, expected `{RESOURCE}`", request.uri),
                None,
            ));
        }
        let contents = ResourceContents::text(self.instance_json(), RESOURCE);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}
