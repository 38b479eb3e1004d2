################################################################################
#
# ollama
#
################################################################################

OLLAMA_VERSION = 0.34.4
OLLAMA_LICENSE = MIT
OLLAMA_STRIP_COMPONENTS = 0

# Each folder of lib/ollama holds the runners of one kind of graphics card: gigabytes, for
# drivers that this system does not have. The files beside them are for processors.
OLLAMA_LOCAL = $(call qstrip,$(BR2_PACKAGE_OLLAMA_LOCAL))
ifeq ($(OLLAMA_LOCAL),)
OLLAMA_SITE = https://github.com/ollama/ollama/releases/download/v$(OLLAMA_VERSION)
OLLAMA_SOURCE = ollama-linux-$(if $(BR2_aarch64),arm64,amd64).tar.zst
OLLAMA_EXCLUDES = $(if $(BR2_PACKAGE_OLLAMA_GPU),,lib/ollama/*/*)
else
OLLAMA_SITE = $(OLLAMA_LOCAL)
OLLAMA_SITE_METHOD = local
OLLAMA_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	$(if $(BR2_PACKAGE_OLLAMA_GPU),,--exclude='/lib/ollama/*/')
endif

define OLLAMA_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/bin/ollama $(TARGET_DIR)/usr/bin/ollama
	test -x $(@D)/lib/ollama/llama-server
	rm -rf $(TARGET_DIR)/usr/lib/ollama
	mkdir -p $(TARGET_DIR)/usr/lib/ollama
	find $(@D)/lib/ollama -mindepth 1 -maxdepth 1 $(if $(BR2_PACKAGE_OLLAMA_GPU),,! -type d) \
		-exec cp -a -t $(TARGET_DIR)/usr/lib/ollama {} +
endef

$(eval $(generic-package))
