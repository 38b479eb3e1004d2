include $(sort $(wildcard $(BR2_EXTERNAL_LLMBASEDOS_PATH)/package/*/*.mk))
