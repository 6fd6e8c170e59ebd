//! `datetime_now`: the time, which no model knows.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::agent::Turn;
use crate::tool::{Tool, ToolError, ToolSpec};

/// Tells date and time in a time zone.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatetimeNow;

#[async_trait]
impl Tool for DatetimeNow {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "datetime_now".to_owned(),
            description: "Tells the current date, time and weekday.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "timezone": {"type": "string", "maxLength": 64, "description": "IANA time zone, for example Europe/Berlin; absent: UTC"},
                },
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        let name = arguments.get("timezone").and_then(Value::as_str).unwrap_or("UTC");
        let unknown =
            || ToolError::refused(format!("there is no time zone `{name}`; use an IANA name such as Europe/Berlin"));
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        let now: Timestamp =
            turn.agent.environment.timestamp().parse().map_err(|_| ToolError::broken("the clock cannot be read"))?;
        let now = now.to_zoned(zone);
        Ok(json!({
            "datetime": now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "date": now.strftime("%Y-%m-%d").to_string(),
            "time": now.strftime("%H:%M:%S").to_string(),
            "weekday": now.strftime("%A").to_string(),
            "timezone": name,
            "unix": now.timestamp().as_second(),
        })
        .to_string())
    }
}
