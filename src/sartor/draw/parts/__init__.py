"""What all drawing methods stand on: one diffusion core over diffusers' classes; methods never subclass the denoiser."""
