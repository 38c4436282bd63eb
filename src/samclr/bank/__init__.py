"""The scene bank: decoded pixels, mapped into memory."""
