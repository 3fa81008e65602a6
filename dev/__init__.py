"""What a developer, a test or a demonstration needs: pinned tools and a control plane of real servers."""
