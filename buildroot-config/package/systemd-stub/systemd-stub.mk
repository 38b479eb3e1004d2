################################################################################
#
# systemd-stub
#
################################################################################

SYSTEMD_STUB_VERSION = 258.7
SYSTEMD_STUB_LICENSE = LGPL-2.1+
SYSTEMD_STUB_INSTALL_TARGET = NO
SYSTEMD_STUB_INSTALL_IMAGES = YES

# As UEFI names the machine.
SYSTEMD_STUB_PROGRAM = linux$(if $(BR2_x86_64),x64,aa64).efi.stub
SYSTEMD_STUB_PREBUILT = $(call qstrip,$(BR2_PACKAGE_SYSTEMD_STUB_PREBUILT))

ifeq ($(SYSTEMD_STUB_PREBUILT),)

# The very file of Buildroot's package systemd.
SYSTEMD_STUB_SITE = $(call github,systemd,systemd,v$(SYSTEMD_STUB_VERSION))
SYSTEMD_STUB_SOURCE = systemd-$(SYSTEMD_STUB_VERSION).tar.gz
SYSTEMD_STUB_DL_SUBDIR = systemd
SYSTEMD_STUB_LICENSE_FILES = LICENSE.LGPL2.1

SYSTEMD_STUB_DEPENDENCIES += \
	host-gperf \
	host-python-jinja2 \
	host-python-pyelftools \
	libcap \
	libxcrypt \
	util-linux-libs

SYSTEMD_STUB_CONF_OPTS += \
	--auto-features=disabled \
	-Defi=true \
	-Dbootloader=enabled \
	-Dmode=release \
	-Dtests=false

SYSTEMD_STUB_NINJA_OPTS = src/boot/$(SYSTEMD_STUB_PROGRAM)
SYSTEMD_STUB_FILE = $(@D)/buildroot-build/src/boot/$(SYSTEMD_STUB_PROGRAM)

else

SYSTEMD_STUB_SOURCE =
SYSTEMD_STUB_FILE = $(SYSTEMD_STUB_PREBUILT)

endif

define SYSTEMD_STUB_INSTALL_IMAGES_CMDS
	$(INSTALL) -D -m 0644 $(SYSTEMD_STUB_FILE) $(BINARIES_DIR)/$(SYSTEMD_STUB_PROGRAM)
endef

ifeq ($(SYSTEMD_STUB_PREBUILT),)
$(eval $(meson-package))
else
$(eval $(generic-package))
endif
