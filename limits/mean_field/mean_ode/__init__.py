"""The Mean ODE of a training, and the particles that solve it."""
