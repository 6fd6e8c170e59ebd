//! A WebSocket: any number of turns, one at a time, until the client leaves or the pod stops.

mod client_message;
mod conversation;
mod metered;
mod wire;

pub(crate) use conversation::{Conversation, draining};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::presence::Presence;
use wire::End;

pub(crate) use wire::Wire;

/// Serves the socket to its end. The run in flight is part of this future: it stops when the client leaves.
pub(crate) async fn serve(
    mut wire: Wire,
    mut conversation: Conversation,
    presence: Presence,
    shutdown: CancellationToken,
) {
    let end = converse(&mut wire, &mut conversation, &presence, &shutdown).await;
    // Whoever has ended it, a run must not go on while the goodbyes are exchanged.
    drop(conversation);
    wire.close(end).await;
}

async fn converse(
    wire: &mut Wire,
    conversation: &mut Conversation,
    presence: &Presence,
    shutdown: &CancellationToken,
) -> End {
    let (limits, mut shown) = (wire.limits(), None);
    let mut heartbeat = interval_at(Instant::now() + limits.ping_interval, limits.ping_interval);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = shutdown.is_cancelled();
        if stopping {
            if let Some(last) = conversation.stop()
                && let Err(end) = wire.send(&last).await
            {
                return end;
            }
            if !conversation.is_busy() {
                return End::Restart;
            }
        }
        presence.show(conversation.is_busy(), &mut shown);
        let done = tokio::select! {
            message = wire.receive() => match message {
                Ok((text, held)) => match conversation.take(text, held).await {
                    Some(reply) => wire.send(&reply).await,
                    None => Ok(()),
                },
                Err(end) => Err(end),
            },
            event = conversation.next_event() => wire.send(&event).await,
            _tick = heartbeat.tick() => wire.beat().await,
            () = shutdown.cancelled(), if !stopping => Ok(()),
            () = presence.given_away(), if shown.is_none() => Err(End::Crowded),
        };
        if let Err(end) = done {
            return end;
        }
    }
}
