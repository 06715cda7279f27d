//! Watches that are followed together: one question for the folder that all of them are in, where there are more watches than questions
//! may wait at an agent. Each watch is told of its own part of the answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::error::{Error, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Follower, Pace, Source, State};

/// How often readers are looked for that are gone.
const LOOK: Duration = Duration::from_secs(1);

/// So many bytes of a folder are read again with each change in it; the watches in a larger one are followed one by one.
const LARGEST: usize = 1024 * 1024;

/// The folders of a client whose watches are followed together.
pub(crate) struct Together<S: Source> {
    folders: Mutex<HashMap<String, Folder<S>>>,
}

enum Folder<S: Source> {
    /// A task follows it and takes more watches.
    Open(UnboundedSender<Follower<S>>),
    /// It is too large, or may not be read as a whole.
    Unfit,
}

impl<S: Source> Default for Together<S> {
    fn default() -> Self {
        Self {
            folders: Mutex::default(),
        }
    }
}

impl<S: Source> fmt::Debug for Together<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together")
            .field("folders", &self.folders().len())
            .finish_non_exhaustive()
    }
}

impl<S: Source> Together<S> {
    fn folders(&self) -> MutexGuard<'_, HashMap<String, Folder<S>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a watch, if its folder is followed already or has to be, since no question for this watch alone may wait; else gives it back.
    pub(super) fn take(self: &Arc<Self>, follower: Follower<S>) -> Option<Follower<S>> {
        let Some(whole) = follower.source.whole() else {
            return Some(follower);
        };
        let mut folders = self.folders();
        match folders.get(whole.name()) {
            Some(Folder::Unfit) => Some(follower),
            // A task that has ended has closed its folder before.
            Some(Folder::Open(joining)) => joining.send(follower).err().map(|refused| refused.0),
            None if follower.client.may_ask_another() => Some(follower),
            None => {
                let (join, joining) = unbounded_channel();
                folders.insert(whole.name().to_owned(), Folder::Open(join));
                let group = Group {
                    together: Arc::clone(self),
                    whole: Arc::new(whole),
                    members: vec![follower],
                    joining,
                };
                tokio::spawn(group.follow());
                None
            }
        }
    }
}

/// Follows one folder for those who watch something in it.
struct Group<S: Source> {
    together: Arc<Together<S>>,
    whole: Arc<S>,
    /// Those whose states are not newer than the reading that is under way.
    members: Vec<Follower<S>>,
    joining: UnboundedReceiver<Follower<S>>,
}

impl<S: Source> Group<S> {
    async fn follow(mut self) {
        let client = self.members[0].client.clone();
        let (mut pace, mut index) = (Pace::default(), 0);
        loop {
            let mut newcomers = Vec::new();
            let asked = {
                let (whole, pause) = (Arc::clone(&self.whole), pace.pause());
                let (asking, wait) = (client.clone(), client.config().watch_wait);
                let asked = async move {
                    tokio::time::sleep(pause).await;
                    whole.read(&asking, index, wait).await
                };
                tokio::pin!(asked);
                loop {
                    tokio::select! {
                        biased;
                        () = client.closed().cancelled() => return self.close(newcomers),
                        Some(newcomer) = self.joining.recv() => newcomers.push(newcomer),
                        answer = &mut asked => break answer,
                        () = tokio::time::sleep(LOOK) => {
                            self.members.retain(|member| !member.sink.is_abandoned());
                            newcomers.retain(|newcomer: &Follower<S>| !newcomer.sink.is_abandoned());
                            if newcomers.is_empty() && self.is_over() {
                                return;
                            }
                        }
                    }
                }
            };
            let failed = match self.tell(asked, &mut pace) {
                Ok(now) => {
                    // What the newcomers know may be newer than this answer: they are told of one that was asked for later.
                    index = if newcomers.is_empty() { now } else { 0 };
                    None
                }
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, watched = self.whole.name(), "watches are interrupted; asking again");
                    pace.failed();
                    index = 0;
                    None
                }
                Err(error) => Some(error),
            };
            self.members.append(&mut newcomers);
            if let Some(error) = failed {
                return self.disband(&error);
            }
            if self.members.is_empty() && self.is_over() {
                return;
            }
        }
    }

    /// Tells each member of its part; gives the index of the answer.
    fn tell(&mut self, answer: Result<State<S::Item>>, pace: &mut Pace) -> Result<u64> {
        let now = answer?;
        let size: usize = now.items.values().map(|(_, item)| S::size(item)).sum();
        if size > LARGEST {
            return Err(Error::invalid_argument(format!(
                "the folder has {size} bytes, more than the {LARGEST} that are read with each change"
            )));
        }
        let mut something_new = false;
        self.members.retain_mut(|member| {
            let told = member.tell(member.source.part(&now));
            something_new |= told == Some(true);
            told.is_some()
        });
        pace.answered(something_new);
        Ok(now.index)
    }

    /// Whether nobody is left; then the folder is closed.
    fn is_over(&mut self) -> bool {
        if !self.members.is_empty() {
            return false;
        }
        let mut folders = self.together.folders();
        // Whoever joins does so while the folders are locked.
        if let Ok(newcomer) = self.joining.try_recv() {
            self.members.push(newcomer);
            return false;
        }
        folders.remove(self.whole.name());
        true
    }

    /// Lets each member be followed by itself from now on.
    fn disband(mut self, error: &Error) {
        tracing::debug!(%error, watched = self.whole.name(), "the watches in a folder are followed one by one");
        let mut folders = self.together.folders();
        folders.insert(self.whole.name().to_owned(), Folder::Unfit);
        while let Ok(newcomer) = self.joining.try_recv() {
            self.members.push(newcomer);
        }
        drop(folders);
        for member in self.members {
            tokio::spawn(member.follow());
        }
    }

    fn close(self, newcomers: Vec<Follower<S>>) {
        for member in self.members.into_iter().chain(newcomers) {
            member.sink.close(Error::closed("the client of Consul"));
        }
    }
}
