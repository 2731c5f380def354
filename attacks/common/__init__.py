"""What several families of attacks share; no attack is here."""
