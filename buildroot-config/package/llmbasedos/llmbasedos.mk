################################################################################
#
# llmbasedos
#
################################################################################

LLMBASEDOS_VERSION = local
LLMBASEDOS_LICENSE = MIT or Apache-2.0
LLMBASEDOS_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# The checkout that this tree lies in.
LLMBASEDOS_CHECKOUT = $(realpath $(BR2_EXTERNAL_LLMBASEDOS_PATH)/..)
LLMBASEDOS_PREBUILT = $(call qstrip,$(BR2_PACKAGE_LLMBASEDOS_PREBUILT))

# The same as what the quick image has (image/src/release.rs).
LLMBASEDOS_PROGRAMS = init gateway arcs luca-shell luca-run netd

ifeq ($(LLMBASEDOS_PREBUILT),)

LLMBASEDOS_SITE = $(LLMBASEDOS_CHECKOUT)
LLMBASEDOS_SITE_METHOD = local
# What is built, downloaded or kept there is no source.
LLMBASEDOS_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude=/target --exclude=/build --exclude=/data --exclude=/.git

# A local site is not vendored by Buildroot: `image buildroot` does that, with what
# `cargo vendor --locked` fetches and checks against Cargo.lock.
LLMBASEDOS_VENDOR = $(call qstrip,$(BR2_PACKAGE_LLMBASEDOS_VENDOR))
LLMBASEDOS_TARGET = $(NORMALIZED_ARCH:arm64=aarch64)-unknown-linux-gnu
LLMBASEDOS_FOLDER = $(@D)/target/$(LLMBASEDOS_TARGET)/release

# Cargo of the machine that builds, not Buildroot's: the checkout pins its version. None of
# the variables that Buildroot gives cargo-package are set: they would turn link-time
# optimisation off. The profile is that of Cargo.toml.
LLMBASEDOS_ENVIRONMENT = \
	$(TARGET_MAKE_ENV) \
	CARGO_TARGET_DIR=$(@D)/target \
	CARGO_TARGET_$(call UPPERCASE,$(LLMBASEDOS_TARGET))_LINKER=$(TARGET_CC) \
	CC_$(subst -,_,$(LLMBASEDOS_TARGET))=$(TARGET_CC) \
	AR_$(subst -,_,$(LLMBASEDOS_TARGET))=$(TARGET_AR) \
	RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom" --remap-path-prefix=$(@D)=llmbasedos --remap-path-prefix=$(LLMBASEDOS_VENDOR)=vendor'

define LLMBASEDOS_BUILD_CMDS
	cd $(@D) && $(LLMBASEDOS_ENVIRONMENT) cargo build --offline --locked --release \
		--target $(LLMBASEDOS_TARGET) \
		--config 'source.crates-io.replace-with="vendored"' \
		--config 'source.vendored.directory="$(LLMBASEDOS_VENDOR)"' \
		$(addprefix --bin ,$(LLMBASEDOS_PROGRAMS))
endef

else

LLMBASEDOS_SOURCE =
LLMBASEDOS_FOLDER = $(LLMBASEDOS_PREBUILT)

endif

# Static, or they would look for a C library of another machine.
define LLMBASEDOS_INSTALL_TARGET_CMDS
	$(foreach program,$(LLMBASEDOS_PROGRAMS), \
		! $(TARGET_READELF) --program-headers $(LLMBASEDOS_FOLDER)/$(program) | grep INTERP
		$(INSTALL) -D -m 0755 $(LLMBASEDOS_FOLDER)/$(program) $(TARGET_DIR)/usr/bin/$(program)
	)
endef

$(eval $(generic-package))
