"""What makes and checks the files under manifests/ and charts/."""
