################################################################################
#
# ollama
#
################################################################################

OLLAMA_VERSION = 0.34.4
OLLAMA_LICENSE = MIT
OLLAMA_STRIP_COMPONENTS = 0

OLLAMA_LOCAL = $(call qstrip,$(BR2_PACKAGE_OLLAMA_LOCAL))
ifeq ($(OLLAMA_LOCAL),)
OLLAMA_SITE = https://github.com/ollama/ollama/releases/download/v$(OLLAMA_VERSION)
OLLAMA_SOURCE = ollama-linux-$(if $(BR2_aarch64),arm64,amd64).tar.zst
else ifneq ($(wildcard $(OLLAMA_LOCAL)/.),)
OLLAMA_SITE = $(OLLAMA_LOCAL)
OLLAMA_SITE_METHOD = local
else
OLLAMA_SITE = file://$(patsubst %/,%,$(dir $(OLLAMA_LOCAL)))
OLLAMA_SOURCE = $(notdir $(OLLAMA_LOCAL))
# One that has the name of the release has a hash, which is checked all the same.
BR_NO_CHECK_HASH_FOR += $(OLLAMA_SOURCE)
endif

# Each folder of lib/ollama holds the runners of one kind of graphics card.
OLLAMA_LEFT_OUT = \
	rocm* \
	mlx* \
	include \
	$(if $(BR2_PACKAGE_OLLAMA_CUDA),,cuda_*) \
	$(if $(BR2_PACKAGE_OLLAMA_VULKAN),,vulkan*)
OLLAMA_EXCLUDES = $(addprefix lib/ollama/,$(OLLAMA_LEFT_OUT))

# A folder of the user's is not unpacked, and may hold any of them.
define OLLAMA_REMOVE_LEFT_OUT
	cd $(@D)/lib/ollama && rm -rf $(OLLAMA_LEFT_OUT)
endef
OLLAMA_POST_RSYNC_HOOKS += OLLAMA_REMOVE_LEFT_OUT

define OLLAMA_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/bin/ollama $(TARGET_DIR)/usr/bin/ollama
	test -x $(@D)/lib/ollama/llama-server
	rm -rf $(TARGET_DIR)/usr/lib/ollama
	mkdir -p $(TARGET_DIR)/usr/lib/ollama
	cp -a $(@D)/lib/ollama/. $(TARGET_DIR)/usr/lib/ollama/
	$(INSTALL) -D -m 0644 \
		$(BR2_EXTERNAL_LLMBASEDOS_PATH)/../image/services/ollama.toml \
		$(TARGET_DIR)/usr/share/llmbasedos/arcs/ollama.toml
endef

$(eval $(generic-package))
