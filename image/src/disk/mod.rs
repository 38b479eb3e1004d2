//! The disk of a machine: its root, its kernel, its file systems, its partitions, whatever their parts come from. All of it
//! is made without root and without loop devices, and the same inputs give the same bytes.
//!
//! | path in the output folder | what |
//! | --- | --- |
//! | `disk.img` | the disk, sparse |
//! | `vmlinux` | the kernel as QEMU starts it without a boot loader |
//! | `initramfs.cpio.zst` | the first stage |
//! | `command-line` | what the kernel is told |
//! | `work/` | the parts that the disk is made of, by the names of their partitions |
//!
//! The disk is one for a first boot: only slot A is filled, because a second copy of the same system would double what is
//! packed, sent and flashed. What slot B takes is made all the same, for tests: `work/boot-b.img`, and `work/root.img`.

pub(crate) mod esp;
mod file_systems;
mod initramfs;
mod kernel;
pub(crate) mod layout;
pub(crate) mod modules;
pub(crate) mod raspberry_pi;
mod root;
pub(crate) mod size;
mod state;
mod tools;
mod uki;

use std::fs;
use std::path::{Path, PathBuf};

use spec::boot::{BootState, CONFIG_PARTITION, DATA_PARTITION, INIT, RootImage, STATE_PARTITION, Slot};

use crate::architecture::Architecture;
use crate::failure::Failure;
use crate::repository::Repository;
use crate::terminal::Terminal;
pub(crate) use file_systems::DataFile;
use layout::{Layout, Table};
use modules::Modules;
pub(crate) use tools::{Tools, Zeros, megabytes, put, text, tool, write};

/// What a system is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) architecture: Architecture,
    /// The files of its root, but for what every root has (`root.rs`); our programs are among them.
    pub(crate) tree: PathBuf,
    /// The kernel as it is packed.
    pub(crate) kernel: PathBuf,
    pub(crate) modules: Modules,
    pub(crate) loader: Loader,
    /// What `llmbasedos.toml` says beside what it explains.
    pub(crate) settings: String,
    /// What lies on the data partition from the beginning, and the room that it is given there, in MiB.
    pub(crate) data: Vec<DataFile>,
    pub(crate) data_mib: u64,
    /// Whether its root is larger than usual: the partitions are then made for it.
    pub(crate) has_large_root: bool,
}

/// What starts the kernel of a slot.
#[derive(Debug)]
pub(crate) enum Loader {
    /// UEFI firmware starts GRUB, and that the unified kernel image of a slot.
    Grub {
        grub: esp::Grub,
        /// The program that starts a kernel that it carries (systemd-stub(7)).
        stub: PathBuf,
    },
    /// The firmware of a Raspberry Pi.
    RaspberryPi(raspberry_pi::Firmware),
}

/// A disk that was made, and what starts the same system without it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) layout: Layout,
    pub(crate) disk: PathBuf,
    /// What lies on its partitions that no machine changes, by their names.
    pub(crate) system: Vec<(&'static str, PathBuf)>,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// What the kernel is told, beside what a way of booting adds.
    pub(crate) command_line: String,
}

/// The root with what belongs to it.
struct Root {
    image: PathBuf,
    /// As slot A.
    verified: RootImage,
    /// The folder with the modules of the first stage.
    first_modules: PathBuf,
}

/// The kernel with what belongs to it.
struct Kernel {
    unpacked: PathBuf,
    initramfs: PathBuf,
    /// The boot partition of slot A.
    boot: PathBuf,
}

impl Parts {
    /// Where their partitions lie, as far as that does not depend on the root.
    pub(crate) fn layout(&self) -> Layout {
        let table = match self.loader {
            Loader::Grub { .. } => Table::Gpt,
            Loader::RaspberryPi(_) => Table::Mbr,
        };
        Layout { table, data_mib: self.data_mib, ..Layout::default() }
    }

    /// Puts them together in `folder`.
    pub(crate) fn assemble(
        &self,
        folder: &Path,
        tools: &Tools<'_>,
        repository: &Repository,
        terminal: &Terminal,
    ) -> Result<Image, Failure> {
        let stage = terminal.stage("root", "erofs with its hash tree", "making");
        let root = self.root(tools, repository)?;
        let tools = &Tools { layout: self.layout_for(&root, tools)?, ..*tools };
        stage.finish(&format!("{:.1} MB", megabytes(&root.image)?));

        let stage = terminal.stage("kernel", "with its initramfs", "packing");
        let kernel = self.kernel(folder, tools, &root)?;
        stage.finish(&format!("{:.1} MB", megabytes(&kernel.initramfs)?));

        let stage = terminal.stage("disk", "partitions and file systems", "putting together");
        let image = self.disk(folder, tools, root, kernel)?;
        stage.finish("ready");
        Ok(image)
    }

    fn root(&self, tools: &Tools<'_>, repository: &Repository) -> Result<Root, Failure> {
        let first_modules = tools.work.join("modules");
        let loaded = self.modules.copy(modules::FIRST, &[], &first_modules, tools)?;
        let root = root::Root { tree: &self.tree, modules: &self.modules, loaded: &loaded, repository };
        let (image, verified) = root.make(tools, Slot::A)?;
        Ok(Root { image, verified, first_modules })
    }

    /// The layout with this root, for which there is room.
    fn layout_for(&self, root: &Root, tools: &Tools<'_>) -> Result<Layout, Failure> {
        let data = fs::metadata(&root.image).map_err(|error| Failure::io("read", &root.image, &error))?;
        let layout = if self.has_large_root { tools.layout.with_root_of(data.len()) } else { tools.layout };
        root::check_size(&Tools { layout, ..*tools }, data.len(), root.verified.slot)?;
        Ok(layout)
    }

    fn kernel(&self, folder: &Path, tools: &Tools<'_>, root: &Root) -> Result<Kernel, Failure> {
        let unpacked = folder.join("vmlinux");
        kernel::unpack(self.architecture, &self.kernel, &unpacked, tools.signals)?;
        let init = self.tree.join(INIT.trim_start_matches('/'));
        let initramfs = tools.initramfs(&init, &root.first_modules, folder)?;
        write(&folder.join("command-line"), &format!("{}\n", self.command_line(root.verified)))?;
        let boot = self.boot_partition(tools, &initramfs, root.verified)?;
        self.boot_partition(tools, &initramfs, RootImage { slot: Slot::B, ..root.verified })?;
        Ok(Kernel { unpacked, initramfs, boot })
    }

    /// The partition with the kernel of a slot.
    fn boot_partition(&self, tools: &Tools<'_>, initramfs: &Path, root: RootImage) -> Result<PathBuf, Failure> {
        let line = self.command_line(root);
        match &self.loader {
            Loader::Grub { stub, .. } => {
                let kernel = uki::Kernel { architecture: self.architecture, stub, kernel: &self.kernel, initramfs };
                kernel.partition(tools, root.slot, &line)
            }
            Loader::RaspberryPi(firmware) => firmware.partition(tools, &self.kernel, initramfs, root.slot, &line),
        }
    }

    fn disk(&self, folder: &Path, tools: &Tools<'_>, root: Root, kernel: Kernel) -> Result<Image, Failure> {
        let mut system = vec![(Slot::A.boot_partition(), kernel.boot), (Slot::A.root_partition(), root.image)];
        let config = match &self.loader {
            Loader::Grub { grub, .. } => {
                system.push((esp::PARTITION, esp::make(tools, self.architecture, grub)?));
                tools.config(&self.settings, None)?
            }
            Loader::RaspberryPi(_) => {
                let config = tools.config(&self.settings, Some((&raspberry_pi::autoboot(tools)?, "autoboot.txt")))?;
                raspberry_pi::check_autoboot(&config)?;
                config
            }
        };
        let own = [
            (STATE_PARTITION, state::make(tools, BootState::only(Slot::A))?),
            (CONFIG_PARTITION, config),
            (DATA_PARTITION, tools.data(&self.data)?),
        ];
        let (layout, disk) = (tools.layout, folder.join("disk.img"));
        layout.create(&disk)?;
        for (name, source) in system.iter().chain(&own) {
            put(source, &disk, layout.place(name)?, Zeros::Hole)?;
        }
        let command_line = self.command_line(root.verified);
        Ok(Image { layout, disk, system, kernel: kernel.unpacked, initramfs: kernel.initramfs, command_line })
    }

    /// What the kernel is told, beside where its messages go.
    fn command_line(&self, root: RootImage) -> String {
        let of_loader = match self.loader {
            // The backup of its table is to be looked for.
            Loader::Grub { .. } => "gpt".to_owned(),
            Loader::RaspberryPi(_) => spec::boot::Loader::RaspberryPi.word(),
        };
        format!("quiet panic=10 {of_loader} printk.devkmsg=on cryptomgr.notests=1 {root}")
    }
}
