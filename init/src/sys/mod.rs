//! The one seam to the kernel: what the rest of init asks of it, in init's own words.
//!
//! Nothing outside this folder makes a system call beyond what `std` offers for files.

mod block;
mod cage;
mod child;
mod clock;
mod device_mapper;
mod group;
mod inherit;
mod machine;
mod mount;
mod notify;
mod parent;
mod pipe;
mod poll;
mod pressure;
mod project;
mod quota;
mod signals;
mod sockets;
mod terminal;
mod watch;
mod watchdog;

pub(crate) use block::{grow_ext4, resize_partition};
pub(crate) use cage::{
    Input, LANDLOCK_SCOPES, Launch, LaunchError, Launched, Refusal, Refusals, Step, check_seccomp, landlock_version,
    launch, socket_in_network_of,
};
pub(crate) use child::{Child, Exit, reap_orphans};
pub(crate) use clock::{Clock, Millis, date_and_time, parse_date_and_time, set_clock, unix_millis};
pub(crate) use device_mapper::{open_verified, partition_of_root};
pub(crate) use group::{Bounds, Group, Groups, kill_children, own_usage};
pub(crate) use inherit::{inherited, name_process};
pub(crate) use machine::{
    Halt, bring_up, credit_entropy, forbid_core_dumps, halt, load_module, restart_with, set_host_name,
    take_ctrl_alt_del, write_kernel_log,
};
pub(crate) use mount::{Access, Mount, become_program, remount, switch_root, unmount};
pub(crate) use notify::tell_starter;
pub(crate) use parent::{
    adopt_orphans, end_with_parent, is_privileged, raise_open_files, restrict_new_files, stay_in_memory,
};
pub(crate) use pipe::{PIPE_CAPACITY, give_back, has_room, memory_file, move_to_file, peek, sealed_content, waiting};
pub(crate) use poll::{Interest, Poll, Ready, Source};
pub(crate) use pressure::{Pressure, memory};
pub(crate) use project::give_tree;
pub(crate) use quota::{Quota, Quotas, is_in_memory};
pub(crate) use signals::{Signals, Wish};
pub(crate) use sockets::{bind_datagram, bind_unix, is_broken, pair, receive_attached, send, set_blocking};
pub(crate) use terminal::{stderr_is_terminal, write_screens, write_stderr};
pub(crate) use watch::FolderWatch;
pub(crate) use watchdog::Watchdog;
